package org.stemedge.ort

import org.junit.Assume.assumeTrue
import org.stemedge.core.AudioSink
import org.stemedge.core.EdgeException
import org.stemedge.core.WavReader
import org.stemedge.core.planar
import java.io.File

/** The folder that a system property names; the test is skipped where it is not there. */
fun folderOf(property: String): File {
    val path = System.getProperty(property)
    assumeTrue("-D$property is not set", path != null)
    return File(path).also { assumeTrue("$it is not there", it.isDirectory) }
}

/** The shipped bundles: every folder with a manifest. */
fun shippedBundles(): List<File> =
    folderOf("edge.bundles").listFiles()!!.filter { File(it, "manifest.json").isFile }.sorted()

fun readWav(file: File): Array<FloatArray> = WavReader(file).use { reader ->
    val audio = Array(reader.channels) { FloatArray(reader.frames.toInt()) }
    val block = planar(reader.channels, 4096)
    var at = 0
    while (true) {
        val count = reader.read(block)
        if (count == 0) break
        for (c in audio.indices) block[c].copyInto(audio[c], at, 0, count)
        at += count
    }
    audio
}

/** Collects what a sink gets, of known length. */
class Recorder(channels: Int, frames: Int) : AudioSink {
    val audio = planar(channels, frames)
    var filled = 0

    override fun write(audio: Array<FloatArray>, count: Int) {
        for (c in audio.indices) audio[c].copyInto(this.audio[c], filled, 0, count)
        filled += count
    }
}

/** Feed audio in chunks of the given sizes, over and over. */
fun feed(audio: Array<FloatArray>, sizes: List<Int>, process: (Array<FloatArray>, Int) -> Unit) {
    var at = 0
    var turn = 0
    while (at < audio[0].size) {
        val count = minOf(sizes[turn++ % sizes.size], audio[0].size - at)
        process(Array(audio.size) { audio[it].copyOfRange(at, at + count) }, count)
        at += count
    }
}

fun messageOf(action: () -> Unit): String {
    try {
        action()
    } catch (error: EdgeException) {
        return error.message
    }
    throw AssertionError("nothing was refused")
}

/** A line for check.sh to show. */
fun note(text: String) = println("note: $text")
