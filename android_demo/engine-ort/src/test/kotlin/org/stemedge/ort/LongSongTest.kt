package org.stemedge.ort

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.stemedge.core.AudioSource
import org.stemedge.core.Bundle
import org.stemedge.core.Machine
import org.stemedge.core.Task
import org.stemedge.core.WavReader
import org.stemedge.core.separateRecording
import java.io.File
import java.lang.management.ManagementFactory

/** Ten minutes in a small heap: run it with -Xmx64m -Dedge.song=FILE.wav, which is played over and over. */
class LongSongTest {
    @get:Rule
    val folder = TemporaryFolder()

    @Test
    fun tenMinutesAreSeparatedInASmallHeap() {
        val song = System.getProperty("edge.song")
        assumeTrue("-Dedge.song is not set", song != null)
        assertTrue("run with -Xmx64m", Runtime.getRuntime().maxMemory() <= 64L shl 20)
        val bundle = shippedBundles().map { Bundle.open(it) }.filter { it.manifest.task == Task.SEPARATE }
            .minBy { it.manifest.graphs.getValue("onnx").bytes }
        val before = resident()
        val started = System.nanoTime()
        val files = OrtEngine().load(bundle, 2).use { graph ->
            separateRecording(bundle, graph, { Looped(File(song), SECONDS) }, File(folder.root, "stems"))
        }
        val seconds = (System.nanoTime() - started) / 1e9
        for (file in files) WavReader(file).use { assertEquals(SECONDS * 44100L, it.frames) }
        val heap = ManagementFactory.getMemoryPoolMXBeans().filter { it.type.name == "HEAP" }.sumOf { it.peakUsage.used }
        // the Java heap, which grew meanwhile, ONNX Runtime's libraries, the graph and its activations
        val native = Machine().peakBytes()!! - before
        val most = NATIVE_BYTES + heap
        assertTrue("${native shr 20} MB beside the Java machine, ${most shr 20} MB were the most", native < most)
        note(
            "$SECONDS s of music separated with -Xmx64m: heap peak %d MB, resident %d MB more than before, RTF %.3f"
                .format(heap shr 20, native shr 20, seconds / SECONDS),
        )
    }

    private fun resident(): Long =
        File("/proc/self/statm").readText().split(' ')[1].toLong() * 4096

    private companion object {
        const val SECONDS = 600

        /** Of the smallest separator; what a memory pattern holds once more would not fit. */
        const val NATIVE_BYTES = 250L shl 20
    }
}

/** A recording repeated to a length. */
private class Looped(file: File, seconds: Int) : AudioSource {
    private val reader = WavReader(file)
    override val sampleRate = reader.sampleRate
    override val channels = reader.channels
    override val frames = seconds * sampleRate.toLong()
    private var left = frames

    override fun read(into: Array<FloatArray>): Int {
        if (left == 0L) return 0
        var count = reader.read(into)
        if (count == 0) {
            reader.seek(0)
            count = reader.read(into)
        }
        count = minOf(count.toLong(), left).toInt()
        left -= count
        return count
    }

    override fun close() = reader.close()
}
