package org.stemedge.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import kotlin.math.PI
import kotlin.math.roundToInt
import kotlin.math.sin

class ResamplerTest {
    private val rates = listOf(8000 to 16000, 48000 to 16000, 44100 to 16000, 16000 to 48000, 16000 to 44100,
        48000 to 44100, 44100 to 48000, 11025 to 44100, 96000 to 44100, 47999 to 16000)

    /** A sine stays the sine of the same phase: pass band, gain and delay at once. */
    @Test
    fun sinesInThePassBandKeepLevelAndPhase() {
        for ((from, to) in rates) {
            for (share in listOf(0.01, 0.3, 0.9)) {
                val frequency = share * minOf(from, to) / 2
                val output = resample(sine(frequency, from, from / 2), from, to)
                val expected = sine(frequency, to, output.size)
                val edge = output.size / 8
                val snr = snrDb(expected.copyOfRange(edge, output.size - edge), output.copyOfRange(edge, output.size - edge))
                assertTrue("$from -> $to at $frequency Hz: $snr dB", snr > 95)
            }
        }
    }

    @Test
    fun whatTheLowerRateCannotHoldIsRemoved() {
        for ((from, to) in rates.filter { it.first > it.second }) {
            val output = resample(sine(1.02 * to / 2, from, from / 2), from, to)
            val edge = output.size / 8
            val peak = output.copyOfRange(edge, output.size - edge).maxOf { kotlin.math.abs(it) }
            assertTrue("$from -> $to: $peak", peak < 1e-5)
        }
    }

    @Test
    fun chunksDoNotMatter() {
        for ((from, to) in rates) {
            val audio = noise(2, 5001)
            val whole = Collector(2)
            Resampler(from, to, 2, whole).run {
                process(audio, 5001)
                flush()
            }
            for (most in listOf(1, 7, 777, 5001)) {
                val pieces = Collector(2)
                val resampler = Resampler(from, to, 2, pieces)
                repeat(2) { // the second time after a flush: as fresh
                    feed(audio, most, 5, resampler::process)
                    resampler.flush()
                }
                for (c in 0..1) {
                    assertArrayEquals(whole.audio()[c] + whole.audio()[c], pieces.audio()[c], 0f)
                }
            }
        }
    }

    @Test
    fun lengthsAreThoseOfTheRates() {
        for ((from, to) in rates) {
            for (frames in listOf(0, 1, 2, 3, 100, 12345)) {
                val expected = if (frames == 0) 0 else maxOf(1, (frames.toDouble() * to / from).roundToInt())
                assertEquals("$from -> $to", expected, resample(FloatArray(frames), from, to).size)
            }
        }
    }

    private fun resample(audio: FloatArray, from: Int, to: Int): FloatArray {
        val out = Collector(1)
        Resampler(from, to, 1, out).run {
            process(arrayOf(audio), audio.size)
            flush()
        }
        return out.audio()[0]
    }

    private fun sine(frequency: Double, rate: Int, frames: Int) =
        FloatArray(frames) { sin(2 * PI * frequency * it / rate).toFloat() }
}
