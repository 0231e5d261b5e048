package org.stemedge.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.sin

class LiveEnhancerTest {
    private val manifest = enhancer(hop = 192, delay = 192)

    /** The dry signal is delayed as the enhanced one: switching between two equal signals is not heard. */
    @Test
    fun theSwitchIsAlignedAndDoesNotClick() {
        for (rate in listOf(16000, 44100, 48000)) {
            val live = LiveEnhancer(manifest, delayingGraph(manifest), rate)
            val sine = FloatArray(rate) { 0.5f * sin(2 * PI * 440 * it / rate).toFloat() }
            val heard = play(live, sine, 480) { frame -> live.enabled = frame / 4800 % 2 == 0 }
            assertTrue(heard.size > rate - rate * live.latencySeconds - 480)
            val edge = 1000
            val snr = snrDb(sine.copyOfRange(edge, heard.size - edge), heard.copyOfRange(edge, heard.size - edge))
            assertTrue("$rate Hz: $snr dB", snr > 90)
            assertEquals(0L, live.dropped)
        }
    }

    @Test
    fun aSilencedSignalFadesWithoutAStep() {
        val mute = FakeGraph(manifest) { _, outputs -> outputs.forEach { it.fill(0f) } }
        val live = LiveEnhancer(manifest, mute, 16000)
        val heard = play(live, FloatArray(16000) { 0.5f }, 100) { frame -> live.enabled = frame > 8000 }
        assertEquals(0.5f, heard[6000], 1e-6f)
        assertEquals(0f, heard[12000], 1e-6f)
        val steps = (1 until heard.size - 1).maxOf { if (it < 1000) 0f else abs(heard[it] - heard[it - 1]) }
        assertTrue("a step of $steps", steps < 0.01)
    }

    @Test
    fun metersAndLateRunsAreCounted() {
        val slow = FakeGraph(manifest) { inputs, outputs ->
            Thread.sleep(20)
            inputs[0].copyInto(outputs[0])
        }
        val live = LiveEnhancer(manifest, slow, 16000)
        live.process(FloatArray(1920) { 0.25f }, 1920)
        assertEquals(10L, live.runs)
        assertEquals(10L, live.lateRuns) // 20 ms for 12 ms of audio
        assertTrue(live.load > 1)
        assertEquals(0.25f, live.takePeaks().first, 0f)
        assertEquals(0f, live.takePeaks().first, 0f)
    }

    private fun play(live: LiveEnhancer, audio: FloatArray, chunk: Int, before: (Int) -> Unit): FloatArray {
        val heard = Collector(1)
        val buffer = FloatArray(4000)
        for (start in audio.indices step chunk) {
            before(start)
            val count = minOf(chunk, audio.size - start)
            live.process(audio.copyOfRange(start, start + count), count)
            val ready = live.output.read(buffer, buffer.size)
            heard.write(arrayOf(buffer), ready)
        }
        return heard.audio()[0]
    }
}
