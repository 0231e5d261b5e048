package org.stemedge.core

import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.max
import kotlin.math.min
import kotlin.math.pow
import kotlin.math.sqrt

/**
 * What is done to an enhancer's result. [fullBand]: what lies above the model's band is kept, under the gain that the
 * model gave to the upper part of its own. [attenLimit]: the most that is taken away, dB; 0 is the input, null no
 * limit. Throws [EdgeException] for a limit below 0.
 */
data class Shaping(val fullBand: Boolean = true, val attenLimit: Double? = null) {
    init {
        if (attenLimit != null && !(attenLimit >= 0)) {
            throw EdgeException("an attenuation limit of $attenLimit dB is not 0 or more")
        }
    }

    /** Share of the enhanced signal in what comes out. */
    val wet: Float get() = if (attenLimit == null) 1f else (1 - 10.0.pow(-attenLimit / 20)).toFloat()
}

/**
 * An enhancer on audio of any rate, each channel on its own: conversion to the model's rate and back, and [Shaping].
 *
 * What reaches the sink has, after [flush], exactly the length of the input and is aligned with it. Samples that no
 * audio has are taken for zero. Nothing is allocated after the constructor.
 */
class ShapedEnhancer(
    manifest: Manifest,
    graph: Graph,
    rate: Int,
    private val channels: Int,
    shaping: Shaping,
    private val sink: AudioSink,
) {
    /** Share of the enhanced signal in what comes out, 0 to 1: the sum goes there within 20 ms. Any thread may set it. */
    @Volatile
    var wet = shaping.wet

    private var share = wet // now
    private val fadeStep = 1f / (FADE_SECONDS * rate)
    private val banded = shaping.fullBand && rate > manifest.sampleRate
    private val most = max(Resampler.OUT_FRAMES, manifest.hop)
    private val piece = planar(channels, PIECE)
    private val dry = planar(channels, most)
    private val result = planar(channels, most)
    private var owed = 0L

    // Of a channel: its result, the model's input of the same moment, and the gain less 1; one converter delays all alike.
    private val wide = planar(if (banded) 3 * channels else 0, manifest.hop)
    private val gains = List(channels) { HopGain() }

    private val up = Resampler(manifest.sampleRate, rate, if (banded) 3 * channels else channels, ::takeRaised)
    private val stream = EnhancerStream(manifest, graph, channels, ::takeHop)
    private val down = Resampler(rate, manifest.sampleRate, channels, ::takeLowered)

    /** Algorithmic latency of the model and of both converters, in seconds. */
    val latencySeconds = manifest.latencySamples.toDouble() / manifest.sampleRate + down.delaySeconds + up.delaySeconds

    /** Input whose output is not out yet, at `rate` and at the model's. */
    private val inputs = List(channels) {
        RingBuffer(ceil((latencySeconds + 2 * manifest.hopSeconds) * rate).toInt() + 2 * PIECE)
    }
    private val lowered = List(if (banded) channels else 0) {
        RingBuffer(manifest.delay + 2 * manifest.hop + Resampler.OUT_FRAMES)
    }

    /** Feed `count` frames; what is ready goes to the sink. */
    fun process(audio: Array<FloatArray>, count: Int) {
        var from = 0
        while (from < count) {
            val taken = min(PIECE, count - from)
            for (c in 0 until channels) {
                val samples = audio[c]
                for (i in 0 until taken) {
                    val sample = samples[from + i]
                    piece[c][i] = if (abs(sample) < MAX_SAMPLE) sample else 0f
                }
                inputs[c].put(piece[c], taken)
            }
            owed += taken
            down.process(piece, taken)
            from += taken
        }
    }

    /** The rest; the enhancer is reset afterwards. */
    fun flush() {
        down.flush()
        stream.flush()
        up.flush()
        while (owed > 0) { // converting there and back may round by a few samples
            for (channel in result) channel.fill(0f)
            deliver(takeDry(most))
        }
        reset()
    }

    /** Forget all input. */
    fun reset() {
        down.reset()
        stream.reset()
        up.reset()
        (inputs + lowered).forEach { it.clear() }
        gains.forEach { it.reset() }
        share = wet
        owed = 0
    }

    private fun takeLowered(audio: Array<FloatArray>, count: Int) {
        for (c in lowered.indices) lowered[c].put(audio[c], count)
        stream.process(audio, count)
    }

    private fun takeHop(audio: Array<FloatArray>, count: Int) {
        if (!banded) return up.process(audio, count)
        for (c in 0 until channels) {
            val given = wide[3 * c + 1]
            System.arraycopy(audio[c], 0, wide[3 * c], 0, count)
            lowered[c].read(given, count)
            gains[c].process(given, audio[c], wide[3 * c + 2], count)
        }
        up.process(wide, count)
    }

    private fun takeRaised(audio: Array<FloatArray>, count: Int) {
        val kept = takeDry(count)
        for (c in 0 until channels) {
            val out = result[c]
            if (!banded) {
                System.arraycopy(audio[c], 0, out, 0, kept)
                continue
            }
            for (i in 0 until kept) {
                val gain = min(1f, max(0f, 1 + audio[3 * c + 2][i]))
                out[i] = audio[3 * c][i] + gain * (dry[c][i] - audio[3 * c + 1][i])
            }
        }
        deliver(kept)
    }

    /** The input that belongs to the next `count` samples of the result, into `dry`; returns how many are owed. */
    private fun takeDry(count: Int): Int {
        val kept = min(count.toLong(), owed).toInt()
        for (c in 0 until channels) inputs[c].read(dry[c], kept)
        owed -= kept
        return kept
    }

    private fun deliver(count: Int) {
        val target = wet
        for (i in 0 until count) {
            if (share != target) share = if (share < target) min(target, share + fadeStep) else max(target, share - fadeStep)
            if (share == 1f) continue
            for (c in 0 until channels) result[c][i] = if (share == 0f) dry[c][i] else (1 - share) * dry[c][i] + share * result[c][i]
        }
        if (count > 0) sink.write(result, count)
    }

    private fun RingBuffer.put(samples: FloatArray, count: Int) = check(write(samples, count) == count)

    private companion object {
        const val FADE_SECONDS = 0.02f
        const val PIECE = 1024
    }
}

/**
 * The gain less 1 that an enhancer gave to the upper part of its band, as a line from hop to hop.
 *
 * Both sides are weighted by (1, -2, 1) / 4, which leaves the top of the band, and their energies are smoothed.
 */
private class HopGain {
    private val given = HighEnergy()
    private val result = HighEnergy()
    private var last = 0f

    fun reset() {
        given.reset()
        result.reset()
        last = 0f
    }

    /** Of one hop, `count` samples of its input and its result, into `gain`. */
    fun process(given: FloatArray, result: FloatArray, gain: FloatArray, count: Int) {
        val before = this.given.next(given, count)
        val after = this.result.next(result, count)
        val now = if (before < TINY) 0f else (min(1.0, sqrt(after / before)) - 1).toFloat()
        for (i in 0 until count) gain[i] = last + (now - last) * (i + 1) / count
        last = now
    }

    private companion object {
        const val TINY = 1e-12 // energy of a hop: below it there is nothing to compare
    }
}

/** Smoothed energy of the top of the band. */
private class HighEnergy {
    private var energy = 0.0
    private var older = 0f // the last two samples
    private var old = 0f

    fun reset() {
        energy = 0.0
        older = 0f
        old = 0f
    }

    fun next(samples: FloatArray, count: Int): Double {
        var sum = 0.0
        for (i in 0 until count) {
            val high = (samples[i] - 2 * old + older) / 4
            sum += high.toDouble() * high
            older = old
            old = samples[i]
        }
        energy = SMOOTHING * energy + (1 - SMOOTHING) * sum
        return energy
    }

    private companion object {
        const val SMOOTHING = 0.5 // from one hop to the next
    }
}
