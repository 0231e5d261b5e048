package org.stemedge.core

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/**
 * One channel of a microphone at the device's rate through an enhancer, and back to that rate, in full band.
 *
 * [process] takes any number of samples and puts what is ready into [output]. [enabled] switches between the
 * enhanced signal and the microphone's own, which is delayed alike, with a short crossfade; so does [attenLimit]
 * between strengths. One audio thread calls [process]; any thread may set these and read the figures.
 */
class LiveEnhancer(manifest: Manifest, graph: Graph, deviceRate: Int) {
    /** false: the microphone itself is heard. */
    @Volatile
    var enabled = true

    /** The most that is taken away, dB; 0 is the microphone itself, null no limit. See [Shaping]. */
    @Volatile
    var attenLimit: Double? = null

    /** Peak of the input and the output since the last call of [takePeaks], full scale 1. */
    @Volatile
    private var inputPeak = 0f

    @Volatile
    private var outputPeak = 0f

    /** Runs of the graph, and those that took longer than the audio they are for. */
    val runs get() = timed.runs
    val lateRuns get() = timed.late

    /** Moving average of the time of a run / its audio. */
    val load: Double get() = timed.load

    /** Enhanced samples at the device's rate, to be read by the player. */
    val output = RingBuffer(deviceRate) // a second

    /** Samples that found no room in [output]. */
    @Volatile
    var dropped = 0L
        private set

    private val timed = TimedGraph(graph, manifest.hopSeconds)
    private val inputs = arrayOf(FloatArray(0))
    private val shaped = ShapedEnhancer(manifest, timed, deviceRate, 1, Shaping()) { audio, count ->
        outputPeak = max(outputPeak, peak(audio[0], count))
        dropped += count - output.write(audio[0], count)
    }

    /** Algorithmic latency of the model and of both resamplers, in seconds; the device's buffers come on top. */
    val latencySeconds get() = shaped.latencySeconds

    /** Feed `count` samples. Throws [EdgeException] where the graph fails. */
    fun process(samples: FloatArray, count: Int) {
        inputPeak = max(inputPeak, peak(samples, count))
        inputs[0] = samples
        shaped.wet = if (enabled) Shaping(attenLimit = attenLimit).wet else 0f
        shaped.process(inputs, count)
    }

    /** Peaks of input and output since the last call. */
    fun takePeaks(): Pair<Float, Float> {
        val peaks = inputPeak to outputPeak
        inputPeak = 0f
        outputPeak = 0f
        return peaks
    }

    private fun peak(samples: FloatArray, count: Int): Float {
        var peak = 0f
        for (i in 0 until count) peak = max(peak, abs(samples[i]))
        return peak
    }
}

/** Measures each run against the audio that it is for. */
class TimedGraph(private val graph: Graph, private val hopSeconds: Double) : Graph by graph {
    @Volatile
    var runs = 0L
        private set

    @Volatile
    var late = 0L
        private set

    @Volatile
    var load = 0.0
        private set

    override fun run() {
        val started = System.nanoTime()
        graph.run()
        val share = (System.nanoTime() - started) / 1e9 / hopSeconds
        runs++
        if (share > 1) late++
        load += (share - load) / min(runs, SMOOTHING)
    }

    private companion object {
        const val SMOOTHING = 50L
    }
}
