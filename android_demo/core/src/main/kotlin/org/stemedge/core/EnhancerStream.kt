package org.stemedge.core

import kotlin.math.abs
import kotlin.math.min

/**
 * Streams audio through an enhancer's graph hop by hop, from zero state, each channel on its own.
 *
 * What reaches the sink, a hop at a time, has after [flush] exactly the length of the input and is aligned with it.
 * The output fades to zero over the fifth silent hop in a row (below -80 dBFS RMS); until a hop is louder nothing is
 * run and the states rest. Input samples that no audio has are taken for zero; a hop for which the model gives such
 * samples is silent and resets the states. Nothing is allocated after the constructor.
 */
class EnhancerStream(manifest: Manifest, graph: Graph, channels: Int, private val sink: AudioSink) {
    private val hop = manifest.hop
    private val delay = manifest.delay
    private val lanes = Array(channels) { EnhancerLane(manifest, graph) }
    private val ready = planar(channels, hop)
    private var fill = 0
    private var skip = 0
    private var owed = 0L

    /** Hops that were run, of all channels; silent ones are not. */
    val inferences: Long get() = lanes.sumOf { it.inferences }

    init {
        reset()
    }

    /** Forget all input. */
    fun reset() {
        lanes.forEach { it.reset() }
        fill = 0
        skip = delay // the graph's first `delay` samples precede the input
        owed = 0
    }

    /** Feed `count` frames at the model's rate; what is ready goes to the sink. */
    fun process(audio: Array<FloatArray>, count: Int) {
        owed += count
        var from = 0
        while (from < count) {
            val taken = min(hop - fill, count - from)
            for (c in lanes.indices) System.arraycopy(audio[c], from, lanes[c].frame, fill, taken)
            fill += taken
            from += taken
            if (fill == hop) run()
        }
    }

    /** The samples still owed, drained with zeros; the stream is reset afterwards. */
    fun flush() {
        while (owed > 0) {
            for (lane in lanes) lane.frame.fill(0f, fill)
            run()
        }
        reset()
    }

    private fun run() {
        lanes.forEach { it.enhance() }
        fill = 0
        val skipped = min(skip, hop)
        skip -= skipped
        val count = min((hop - skipped).toLong(), owed).toInt()
        if (count == 0) return
        owed -= count
        for (c in ready.indices) System.arraycopy(lanes[c].enhanced, skipped, ready[c], 0, count)
        sink.write(ready, count)
    }
}

/** One channel: its state, and the gate that holds silence silent. */
private class EnhancerLane(manifest: Manifest, private val graph: Graph) {
    val frame = FloatArray(manifest.hop)
    val enhanced = FloatArray(manifest.hop)
    var inferences = 0L
        private set
    private val states = manifest.states.map { FloatArray(it.size) }
    private val silentEnergy = SILENCE * SILENCE * manifest.hop
    private val fadeIn = min(manifest.delay, manifest.hop) // what comes out after a pause belongs to it for so long
    private var silent = 0

    fun reset() {
        for (state in states) state.fill(0f)
        silent = 0
    }

    /** The graph's output for `frame` in `enhanced`. */
    fun enhance() {
        var energy = energy(frame)
        if (!(energy < MAX_SAMPLE)) energy = repair() // NaN comes here, too
        var woken = silent >= SILENT_HOPS
        if (energy < silentEnergy) {
            silent++
            if (woken) return enhanced.fill(0f)
            woken = false
        } else {
            silent = 0
        }
        infer()
        if (!energy(enhanced).isFinite()) {
            for (state in states) state.fill(0f)
            return enhanced.fill(0f)
        }
        if (woken) {
            for (i in 0 until fadeIn) enhanced[i] *= i.toFloat() / max1(fadeIn - 1)
        } else if (silent == SILENT_HOPS) {
            for (i in enhanced.indices) enhanced[i] *= 1 - i.toFloat() / max1(enhanced.size - 1)
        }
    }

    private fun infer() {
        graph.inputs[0].write(frame)
        for (i in states.indices) graph.inputs[i + 1].write(states[i])
        graph.run()
        inferences++
        graph.outputs[0].read(enhanced)
        for (i in states.indices) graph.outputs[i + 1].read(states[i])
    }

    private fun repair(): Double {
        for (i in frame.indices) if (!(abs(frame[i]) < MAX_SAMPLE)) frame[i] = 0f
        return energy(frame)
    }

    private fun energy(samples: FloatArray): Double {
        var sum = 0.0
        for (sample in samples) sum += sample.toDouble() * sample
        return sum
    }

    private fun max1(n: Int) = if (n < 1) 1 else n

    private companion object {
        const val SILENT_HOPS = 5 // after so many the output is zero and nothing is run
    }
}

/** Beyond it (+80 dBFS) a sample is a fault, and would overflow in the model. */
internal const val MAX_SAMPLE = 1e4

/** RMS, -80 dBFS: what is below counts as silent. */
internal const val SILENCE = 1e-4
