package org.stemedge.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.sin

/** Strength and full band around a graph that halves; the figures of the real one are in ParityTest. */
class ShapingTest {
    private val manifest = enhancer(hop = 192, delay = 192)

    @Test
    fun aLimitOf0DbIsTheInputItself() {
        for (rate in listOf(8000, 16000, 44100, 48000)) {
            for (fullBand in listOf(false, true)) {
                for (frames in listOf(1, 500, 20_000)) {
                    val audio = noise(2, frames)
                    val out = shaped(rate, Shaping(fullBand, 0.0), audio, 3000)
                    for (c in audio.indices) assertArrayEquals(audio[c], out[c], 0f)
                }
            }
        }
    }

    @Test
    fun aLimitMixesWithTheAlignedInput() {
        val audio = noise(1, 16_000)
        for ((limit, factor) in listOf(6.0 to 0.75059f, 12.0 to 0.62559f, 300.0 to 0.5f)) {
            val out = shaped(16000, Shaping(true, limit), audio, 700)[0]
            assertArrayEquals(FloatArray(out.size) { factor * audio[0][it] }, out, 1e-5f)
        }
    }

    @Test
    fun theBandAboveHasTheModelsGain() {
        for (rate in listOf(22050, 44100, 48000, 96000)) {
            val audio = noise(2, 2 * rate)
            val out = shaped(rate, Shaping(), audio, 1000)
            for (c in audio.indices) {
                val inner = rate / 2 until 3 * rate / 2
                val half = FloatArray(inner.count()) { 0.5f * audio[c][inner.first + it] }
                val snr = snrDb(half, out[c].sliceArray(inner))
                assertTrue("$rate Hz: $snr dB", snr > 55)
            }
        }
    }

    @Test
    fun theModelsBandAlone() {
        val high = FloatArray(48_000) { 0.1f * sin(2 * PI * 12_000 * it / 48_000).toFloat() }
        val out = shaped(48000, Shaping(fullBand = false), arrayOf(high), 480)[0]
        assertTrue(out.sliceArray(5000 until 43_000).all { abs(it) < 1e-4 })
    }

    @Test
    fun theSameWhateverTheBlocks() {
        val audio = noise(2, 30_000)
        for (rate in listOf(16000, 44100, 48000)) {
            val whole = shaped(rate, Shaping(true, 9.0), audio, 30_000)
            for (most in listOf(7, 333, 5000)) {
                val cut = shaped(rate, Shaping(true, 9.0), audio, most)
                for (c in audio.indices) assertArrayEquals(whole[c], cut[c], 0f)
            }
        }
    }

    @Test
    fun faultsDoNotComeThrough() {
        val audio = noise(1, 9000)
        audio[0][1000] = Float.NaN
        audio[0][1001] = Float.NEGATIVE_INFINITY
        audio[0][1002] = 1e30f
        for (rate in listOf(16000, 48000)) {
            assertTrue(shaped(rate, Shaping(true, 6.0), audio, 100)[0].all { abs(it) < 10 })
        }
    }

    @Test
    fun aLimitBelow0IsRefused() {
        for (limit in listOf(-1.0, Double.NaN)) assertTrue("not 0 or more" in messageOf { Shaping(attenLimit = limit) })
    }

    @Test
    fun theStrengthOfALiveStreamMovesWithoutAStep() {
        val live = LiveEnhancer(manifest, halvingGraph(), 16000)
        val heard = Collector(1)
        val buffer = FloatArray(4000)
        for (block in 0 until 120) {
            if (block == 60) live.attenLimit = 0.0
            live.process(FloatArray(200) { 0.5f }, 200)
            heard.write(arrayOf(buffer), live.output.read(buffer, buffer.size))
        }
        val audio = heard.audio()[0]
        assertEquals(0.25f, audio[10_000], 1e-6f)
        assertEquals(0.5f, audio.last(), 0f)
        assertTrue((1000 until audio.size).all { abs(audio[it] - audio[it - 1]) < 0.01 })
    }

    private fun halvingGraph() = FakeGraph(manifest) { inputs, outputs ->
        val line = inputs[1] + inputs[0]
        for (i in outputs[0].indices) outputs[0][i] = line[i] / 2
        System.arraycopy(line, manifest.hop, outputs[1], 0, manifest.delay)
    }

    /** Twice through one enhancer, the second time after its flush, which must give the same. */
    private fun shaped(rate: Int, shaping: Shaping, audio: Array<FloatArray>, most: Int): Array<FloatArray> {
        val out = Collector(audio.size)
        val enhancer = ShapedEnhancer(manifest, halvingGraph(), rate, audio.size, shaping, out)
        repeat(2) {
            feed(audio, most, 5, enhancer::process)
            enhancer.flush()
        }
        val frames = audio[0].size
        return out.audio().map { both ->
            assertEquals(2 * frames, both.size)
            both.copyOf(frames).also { assertArrayEquals(it, both.copyOfRange(frames, 2 * frames), 0f) }
        }.toTypedArray()
    }
}
