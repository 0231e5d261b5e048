package org.stemedge.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File

class RecordingsTest {
    @get:Rule
    val folder = TemporaryFolder()
    private val manifest = separator(segment = 1000, hop = 750)
    private val bundle by lazy { Bundle(folder.root, manifest) }

    @Test
    fun stemsHaveTheRateAndLengthOfTheRecording() {
        for ((rate, channels) in listOf(44100 to 2, 48000 to 1, 22050 to 6)) {
            val target = File(folder.root, "stems")
            val files = separateRecording(bundle, scalingGraph(manifest), { Memory(noise(channels, 12_345), rate) }, target)
            assertEquals(listOf("drums.wav", "vocals.wav"), files.map { it.name })
            for (file in files) WavReader(file).use {
                assertEquals(rate, it.sampleRate)
                assertEquals(2, it.channels)
                assertEquals(12_345L, it.frames)
            }
        }
    }

    @Test
    fun stoppedOrFailedWorkLeavesNothingBehind() {
        val target = File(folder.root, "stems")
        val audio = AudioOpener { Memory(noise(2, 50_000), 44100) }
        try {
            separateRecording(bundle, scalingGraph(manifest), audio, target) { if (it > 0.5) throw CancelledException() }
            throw AssertionError("not stopped")
        } catch (_: CancelledException) {
            assertEquals(emptyList<String>(), folder.root.list()!!.toList())
        }
        val broken = FakeGraph(manifest) { _, outputs -> outputs[0].fill(Float.NaN) }
        assertTrue("not numbers" in messageOf { separateRecording(bundle, broken, audio, target) })
        assertTrue("no samples" in messageOf { separateRecording(bundle, broken, { Memory(noise(2, 0), 44100) }, target) })
        assertFalse(target.exists())
        assertEquals(emptyList<String>(), folder.root.list()!!.toList())
    }

    @Test
    fun aBundleOfTheOtherTaskIsRefused() {
        val stereo = separator()
        val message = messageOf { enhanceRecording(Bundle(folder.root, stereo), scalingGraph(stereo), { Memory(noise(1, 9), 8000) }, File(folder.root, "x.wav")) }
        assertTrue(message, "choose a bundle that enhances speech" in message)
    }

    @Test
    fun stemsAreMutedAndSoloed() {
        val audio = List(3) { stem -> Array(2) { FloatArray(30_000) { 0.1f * (stem + 1) } } }
        val files = audio.mapIndexed { i, stem ->
            folder.newFile("$i.wav").also { file -> WavWriter(file, 8000, 2, WavEncoding.FLOAT32).use { it.write(stem, 30_000) } }
        }
        StemMixer(files).use { mixer ->
            fun level(): Float {
                val block = planar(2, 1000)
                mixer.read(block) // the change is spread over this one
                mixer.read(block)
                assertArrayEquals(block[0], block[1], 0f)
                return block[0][0]
            }
            assertEquals(0.6f, level(), 1e-6f)
            mixer.mute(1, true)
            assertEquals(0.4f, level(), 1e-6f)
            mixer.solo(1, true) // solo wins over mute
            assertEquals(0.2f, level(), 1e-6f)
            mixer.solo(2, true)
            assertEquals(0.5f, level(), 1e-6f)
            mixer.solo(1, false)
            mixer.solo(2, false)
            mixer.mute(1, false)
            assertEquals(0.6f, level(), 1e-6f)
            mixer.seek(29_500)
            assertEquals(500, mixer.read(planar(2, 1000)))
            assertEquals(0, mixer.read(planar(2, 1000)))
        }
    }
}

/** Audio in memory. */
class Memory(private val audio: Array<FloatArray>, override val sampleRate: Int) : AudioSource {
    override val channels = audio.size
    override val frames = audio[0].size.toLong()
    private var position = 0

    override fun read(into: Array<FloatArray>): Int {
        val count = minOf(into[0].size, audio[0].size - position)
        for (c in into.indices) audio[c].copyInto(into[c], 0, position, position + count)
        position += count
        return count
    }

    override fun close() = Unit
}
