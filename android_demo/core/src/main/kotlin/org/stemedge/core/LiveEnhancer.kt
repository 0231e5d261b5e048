package org.stemedge.core

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/**
 * One channel of a microphone at the device's rate through an enhancer, and back to that rate.
 *
 * [process] takes any number of samples and puts what is ready into [output]. [enabled] switches between the
 * enhanced signal and the dry one, which is delayed alike, with a short crossfade. One audio thread calls
 * [process]; any thread may read the figures.
 */
class LiveEnhancer(manifest: Manifest, graph: Graph, deviceRate: Int) {
    /** false: the dry signal is heard. */
    @Volatile
    var enabled = true

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
    private val dry = RingBuffer(manifest.sampleRate)
    private val line = FloatArray(manifest.hop)
    private val fadeStep = 1f / (FADE_SECONDS * manifest.sampleRate)
    private var wet = 1f
    private val inputs = arrayOf(FloatArray(0))
    private val up = Resampler(manifest.sampleRate, deviceRate, 1) { audio, count ->
        outputPeak = max(outputPeak, peak(audio[0], count))
        dropped += count - output.write(audio[0], count)
    }
    private val stream = EnhancerStream(manifest, timed, 1) { audio, count ->
        mixDry(audio[0], count)
        up.process(audio, count)
    }
    private val down = Resampler(deviceRate, manifest.sampleRate, 1) { audio, count ->
        dry.write(audio[0], count)
        stream.process(audio, count)
    }

    /** Algorithmic latency of the model and of both resamplers, in seconds; the device's buffers come on top. */
    val latencySeconds = manifest.latencySamples.toDouble() / manifest.sampleRate + down.delaySeconds + up.delaySeconds

    /** Feed `count` samples. Throws [EdgeException] where the graph fails. */
    fun process(samples: FloatArray, count: Int) {
        inputPeak = max(inputPeak, peak(samples, count))
        inputs[0] = samples
        down.process(inputs, count)
    }

    /** Peaks of input and output since the last call. */
    fun takePeaks(): Pair<Float, Float> {
        val peaks = inputPeak to outputPeak
        inputPeak = 0f
        outputPeak = 0f
        return peaks
    }

    /** The stream's output is aligned with its input: the oldest dry samples belong to these. */
    private fun mixDry(samples: FloatArray, count: Int) {
        dry.read(line, count)
        val target = if (enabled) 1f else 0f
        for (i in 0 until count) {
            if (wet != target) wet = if (wet < target) min(target, wet + fadeStep) else max(target, wet - fadeStep)
            samples[i] = line[i] + wet * (samples[i] - line[i])
        }
    }

    private fun peak(samples: FloatArray, count: Int): Float {
        var peak = 0f
        for (i in 0 until count) peak = max(peak, abs(samples[i]))
        return peak
    }

    private companion object {
        const val FADE_SECONDS = 0.02f
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
