package org.stemedge.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import kotlin.math.sqrt

class StreamsTest {
    @Test
    fun anEnhancersOutputHasTheLengthOfItsInputAndIsAligned() {
        for (delay in listOf(1, 31, 32, 100)) {
            val manifest = enhancer(hop = 32, delay = delay)
            for (frames in listOf(1, 5, 31, 32, 33, 64, 1000)) {
                for (most in listOf(1, 13, 1000)) {
                    val audio = noise(2, frames)
                    val out = Collector(2)
                    val stream = EnhancerStream(manifest, delayingGraph(manifest), 2, out)
                    repeat(2) { // the second time after a flush: as fresh
                        feed(audio, most, 3, stream::process)
                        stream.flush()
                    }
                    for (c in 0..1) assertArrayEquals(audio[c] + audio[c], out.audio()[c], 0f)
                }
            }
        }
    }

    @Test
    fun silenceIsHeldAndNotRun() {
        val manifest = enhancer()
        val graph = delayingGraph(manifest)
        val out = Collector(1)
        val stream = EnhancerStream(manifest, graph, 1, out)
        val loud = noise(1, 32 * 10)[0]
        val audio = loud + FloatArray(32 * 100) { 5e-5f } + loud
        feed(arrayOf(audio), 50, 1, stream::process)
        stream.flush()
        assertEquals(10 + 5 + 10 + 1, graph.runs) // one more drains the stream
        val quiet = out.audio()[0].copyOfRange(32 * 14, 32 * 109)
        assertTrue(quiet.all { it == 0f })
        assertArrayEquals(loud, out.audio()[0].copyOf(32 * 10), 0f)
        assertArrayEquals(loud.copyOfRange(64, 320), out.audio()[0].copyOfRange(32 * 112, 32 * 120), 0f)
    }

    @Test
    fun samplesThatNoAudioHasAreTakenForZero() {
        val manifest = enhancer()
        val audio = noise(1, 320)[0]
        val bad = audio.clone()
        for ((at, value) in listOf(5 to Float.NaN, 77 to Float.POSITIVE_INFINITY, 200 to 1e30f)) {
            bad[at] = value
            audio[at] = 0f
        }
        val out = Collector(1)
        val stream = EnhancerStream(manifest, delayingGraph(manifest), 1, out)
        stream.process(arrayOf(bad), bad.size)
        stream.flush()
        assertArrayEquals(audio, out.audio()[0], 0f)
    }

    /** A graph that scales its input must give exactly the scaled recording, however it is cut and weighted. */
    @Test
    fun aSeparatorsOverlapAddIsExactForALinearGraph() {
        for ((segment, hop) in listOf(100 to 75, 101 to 50, 64 to 64, 64 to 48)) {
            val manifest = separator(segment, hop)
            for (frames in listOf(1, 10, 63, 64, 65, 99, 100, 101, 176, 1000)) {
                for (most in listOf(1, 37, 1000)) {
                    val audio = noise(2, frames)
                    val out = Collector(4)
                    val separator = Separator(manifest, scalingGraph(manifest), 0.0, 0.3, out)
                    repeat(2) { // the second time after a flush: as fresh
                        feed(audio, most, 9, separator::process)
                        separator.flush()
                    }
                    for (s in 0..3) {
                        val expected = FloatArray(frames) { (s / 2 + 1) * audio[s % 2][it] }
                        assertArrayEquals(expected + expected, out.audio()[s], 2e-6f)
                    }
                }
            }
        }
    }

    @Test
    fun aSilentRecordingIsNotSeparated() {
        val manifest = separator()
        val graph = scalingGraph(manifest)
        val out = Collector(4)
        val separator = Separator(manifest, graph, 2e-5, 1e-5, out)
        separator.process(Array(2) { FloatArray(1000) { 2e-5f } }, 1000)
        separator.flush()
        assertEquals(0, graph.runs)
        assertEquals(1000, out.audio()[0].size)
        assertTrue(out.audio().all { stem -> stem.all { kotlin.math.abs(it) < 1e-9 } })
    }

    @Test
    fun statisticsAreThoseOfTheWholeTrack() {
        val audio = noise(2, 54_321).also { for (c in it) for (i in c.indices) c[i] += 0.2f }
        val statistics = Statistics()
        feed(audio, 5000, 4, statistics::write)
        val mono = DoubleArray(54_321) { (audio[0][it].toDouble() + audio[1][it]) / 2 }
        val mean = mono.average()
        assertEquals(mean, statistics.mean, 1e-12)
        assertEquals(sqrt(mono.sumOf { (it - mean) * (it - mean) } / (mono.size - 1)), statistics.std, 1e-12)
    }

    @Test
    fun channelsThatCancelKeepADeviation() {
        val left = noise(1, 20_000)[0]
        val statistics = Statistics()
        feed(arrayOf(left, FloatArray(left.size) { -left[it] }), 5000, 4, statistics::write)
        val all = sqrt(left.sumOf { it.toDouble() * it } / (left.size - 1))
        assertEquals(0.3 * all, statistics.std, 1e-9)
    }

    @Test
    fun quantilesAreLinearBetweenNeighbours() {
        val values = doubleArrayOf(1.0, 2.0, 4.0, 8.0)
        assertEquals(3.0, quantile(values, 0.5), 1e-12)
        assertEquals(7.4, quantile(values, 0.95), 1e-12)
        assertEquals(8.0, quantile(values, 1.0), 0.0)
    }
}
