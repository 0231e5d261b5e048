package org.stemedge.core

import kotlin.math.max
import kotlin.math.min
import kotlin.math.sqrt

/**
 * Streams a recording through a separator's graph with overlap-add, holding two segments only.
 *
 * Segments start every hop and are weighted by a triangle, then divided by the running sum of weights. A last
 * segment that is not full is centred in the real audio around it. `mean` and `std` are those of the whole
 * recording's mono mix ([Statistics]). A silent segment (below -80 dBFS RMS) is not run: its stems are silent.
 * The sink gets sources x channels arrays, channels of a source together; after [flush] they are exactly as long as
 * the input and aligned with it.
 */
class Separator(
    manifest: Manifest,
    private val graph: Graph,
    mean: Double,
    std: Double,
    private val sink: AudioSink,
) {
    private val segment = manifest.segment
    private val hop = manifest.hop
    private val channels = manifest.channels
    private val mean = mean.toFloat()
    private val scale = (std + 1e-8).toFloat()
    private val past = segment / 2 // real audio kept before the current offset, for the last segments
    private val weight = triangle(segment)
    private val audio = planar(channels, past + segment)
    private val mix = FloatArray(channels * segment)
    private val stem = FloatArray(segment) // one channel of one source, as the graph gave it
    private val sum = planar(manifest.sources.size * channels, segment)
    private val weights = FloatArray(segment)
    private val out = planar(sum.size, BLOCK_FRAMES)
    private var fill = 0 // samples from the current offset on

    /** Forget all input. */
    fun reset() {
        for (line in audio + sum) line.fill(0f)
        weights.fill(0f)
        fill = 0
    }

    /** Feed `count` frames at the model's rate; what is ready goes to the sink. */
    fun process(block: Array<FloatArray>, count: Int) {
        var from = 0
        while (from < count) {
            val taken = min(segment - fill, count - from)
            val at = past + fill
            for (c in 0 until channels) {
                for (i in 0 until taken) audio[c][at + i] = (block[c][from + i] - mean) / scale
            }
            fill += taken
            from += taken
            if (fill == segment) run()
        }
    }

    /** The stems of what is left; the separator is reset afterwards. */
    fun flush() {
        while (fill > 0) run()
        reset()
    }

    /** Run the segment at the current offset, which has `fill` samples, and move on by one hop. */
    private fun run() {
        val before = (segment - fill) / 2
        mix.fill(0f)
        for (c in 0 until channels) {
            System.arraycopy(audio[c], past - before, mix, c * segment, before + fill)
        }
        if (isSilent(before + fill)) {
            addSilence()
        } else {
            graph.inputs[0].write(mix)
            graph.run()
            addOutput(before)
        }
        for (i in 0 until fill) weights[i] += weight[i]
        val ready = min(hop, fill)
        emit(ready)
        for (line in sum) shift(line)
        shift(weights)
        for (line in audio) System.arraycopy(line, hop, line, 0, past + segment - hop)
        fill -= ready
    }

    private fun addOutput(before: Int) {
        val stems = graph.outputs[0]
        rewind(stems)
        for (line in sum) {
            stems.get(stem)
            for (i in 0 until fill) line[i] += weight[i] * stem[before + i]
        }
    }

    /** What is zero once it is scaled back. */
    private fun addSilence() {
        val zero = -mean / scale
        for (line in sum) {
            for (i in 0 until fill) line[i] += weight[i] * zero
        }
    }

    /** Whether the first `count` samples of `mix` are below -80 dBFS in every channel. */
    private fun isSilent(count: Int): Boolean = (0 until channels).all { c ->
        var energy = 0.0
        for (i in 0 until count) energy += (mix[c * segment + i] * scale + mean).toDouble().let { it * it }
        energy < SILENCE * SILENCE * count
    }

    private fun emit(ready: Int) {
        var from = 0
        while (from < ready) {
            val count = min(BLOCK_FRAMES, ready - from)
            for (s in sum.indices) {
                for (i in 0 until count) out[s][i] = sum[s][from + i] / weights[from + i] * scale + mean
            }
            sink.write(out, count)
            from += count
        }
    }

    private fun shift(line: FloatArray) {
        System.arraycopy(line, hop, line, 0, segment - hop)
        line.fill(0f, segment - hop)
    }

    private companion object {
        fun triangle(segment: Int): FloatArray {
            val half = segment / 2
            val peak = max(half, segment - half).toDouble()
            return FloatArray(segment) { i -> ((if (i < half) i + 1 else segment - i) / peak).toFloat() }
        }
    }
}

/**
 * Mean and unbiased standard deviation of the mono mix, updated block by block (Chan et al. 1979). Where the channels
 * nearly cancel in it (karaoke tracks, a channel turned around) the deviation is at least [MONO_SHARE] of that of all
 * channels: over a deviation near 0 the audio would leave the range of fp16 and int8.
 */
class Statistics : AudioSink {
    private var count = 0L
    private var squares = 0.0
    private var apart = 0.0
    var mean = 0.0
        private set

    /** 0 for fewer than two samples. */
    val std: Double
        get() {
            val least = max(squares, MONO_SHARE * MONO_SHARE * (squares + apart))
            return if (count > 1) sqrt(least / (count - 1)) else 0.0
        }

    override fun write(audio: Array<FloatArray>, count: Int) {
        if (count == 0) return
        fun mono(i: Int): Double {
            var sum = 0.0
            for (channel in audio) sum += channel[i]
            return sum / audio.size
        }
        var total = 0.0
        for (i in 0 until count) total += mono(i)
        val blockMean = total / count
        var deviation = 0.0
        var differences = 0.0
        for (i in 0 until count) {
            val middle = mono(i)
            deviation += (middle - blockMean).let { it * it }
            for (channel in audio) differences += (channel[i] - middle).let { it * it }
        }
        val shift = blockMean - mean
        val all = this.count + count
        squares += deviation + shift * shift * this.count.toDouble() * count / all
        apart += differences / audio.size
        mean += shift * count / all
        this.count = all
    }

    private companion object {
        const val MONO_SHARE = 0.3 // of the deviation of all channels that the mono mix keeps in nearly all music
    }
}
