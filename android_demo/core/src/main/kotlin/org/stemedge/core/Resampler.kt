package org.stemedge.core

import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sin
import kotlin.math.sqrt

/**
 * Streaming sample-rate conversion, its delay compensated: a polyphase filter, a Kaiser-windowed sinc.
 *
 * Pass band up to 0.913 of the lower rate's Nyquist frequency. Cut-off, window and length are chosen so that it
 * gives the samples of soxr's "HQ", which edge-run uses. Allocates in the constructor only.
 */
class Resampler(rateIn: Int, rateOut: Int, private val channels: Int, private val sink: AudioSink) {
    private val same = rateIn == rateOut
    private val up: Int // output sample k lies at input position k * down / up
    private val down: Int
    private val reach: Int // input samples on each side of an output sample
    private val phases: Int
    private val table: Array<FloatArray>
    private val history: Array<FloatArray>
    private val out = planar(channels, OUT_FRAMES)

    private var start = 0L // input index of history[.][0]
    private var received = 0L
    private var emitted = 0L
    private var base = 0L // input index and phase of the next output sample
    private var phase = 0
    private var filled = 0 // of `out`

    init {
        val divisor = gcd(rateIn, rateOut)
        up = rateOut / divisor
        down = rateIn / divisor
        val filter = Filter(rateIn, rateOut)
        reach = if (same) 0 else ceil(filter.half * rateIn / min(rateIn, rateOut)).toInt()
        phases = min(up, MAX_PHASES)
        table = if (same) emptyArray() else Array(phases + 1) { p ->
            FloatArray(2 * reach) { j -> filter.at(j - (reach - 1) - p.toDouble() / phases) }
        }
        history = planar(if (same) 0 else channels, 2 * reach + IN_FRAMES)
        reset()
    }

    /** How much later than its input an output sample comes, in seconds. */
    val delaySeconds: Double = reach.toDouble() / rateIn

    /** Forget all input. */
    fun reset() {
        for (channel in history) channel.fill(0f)
        start = -(reach - 1).toLong()
        received = 0
        emitted = 0
        base = 0
        phase = 0
        filled = 0
    }

    /** Feed `count` frames; what is ready goes to the sink. */
    fun process(audio: Array<FloatArray>, count: Int) {
        if (same) {
            if (count > 0) sink.write(audio, count)
            return
        }
        var from = 0
        while (from < count) {
            val taken = append(audio, from, count - from)
            from += taken
            received += taken
            convert(Long.MAX_VALUE)
        }
        emit()
    }

    /** The rest, at least one frame in all where any came in; the converter starts afresh afterwards. */
    fun flush() {
        if (same) return
        val total = max(min(received, 1), (2 * received * up + down) / (2L * down))
        while (emitted + filled < total) {
            received += append(null, 0, IN_FRAMES)
            convert(total)
        }
        emit()
        reset()
    }

    /** Copy frames (zeros without `audio`) behind what is there; returns how many had room. */
    private fun append(audio: Array<FloatArray>?, from: Int, count: Int): Int {
        val drop = max(0L, base - (reach - 1) - start).toInt()
        val kept = (received - start).toInt() - drop
        val taken = min(count, history[0].size - kept)
        for (c in 0 until channels) {
            val line = history[c]
            System.arraycopy(line, drop, line, 0, kept)
            line.fill(0f, kept, kept + taken)
            if (audio != null) System.arraycopy(audio[c], from, line, kept, taken)
        }
        start += drop
        return taken
    }

    private fun convert(total: Long) {
        while (base + reach < received && emitted + filled < total) {
            val first = (base - (reach - 1) - start).toInt()
            val exact = phases == up
            val row = if (exact) phase else (phase.toLong() * phases / up).toInt()
            val part = if (exact) 0f else (phase.toDouble() * phases / up - row).toFloat()
            for (c in 0 until channels) {
                var value = dot(history[c], first, table[row])
                if (!exact) value += part * (dot(history[c], first, table[row + 1]) - value)
                out[c][filled] = value
            }
            if (++filled == OUT_FRAMES) emit()
            val next = phase.toLong() + down
            base += next / up
            phase = (next % up).toInt()
        }
    }

    private fun emit() {
        if (filled == 0) return
        sink.write(out, filled)
        emitted += filled
        filled = 0
    }

    companion object {
        /** As many frames as the sink gets at a time, at most, where the rates differ. */
        const val OUT_FRAMES = 1024
        private const val IN_FRAMES = 1024
        private const val MAX_PHASES = 1024 // beyond, coefficients are interpolated: an error below -110 dB

        private fun dot(line: FloatArray, first: Int, taps: FloatArray): Float {
            var even = 0f
            var odd = 0f
            var j = 0
            while (j < taps.size) { // the number of taps is even
                even += line[first + j] * taps[j]
                odd += line[first + j + 1] * taps[j + 1]
                j += 2
            }
            return even + odd
        }

        private tailrec fun gcd(a: Int, b: Int): Int = if (b == 0) a else gcd(b, a % b)
    }
}

/** The continuous low-pass. Figures fitted to impulse responses of soxr HQ: 130 dB where one rate divides the other
 * (soxr then has one such filter), 70 dB else (soxr has two in a row). */
private class Filter(private val rateIn: Int, rateOut: Int) {
    private val low = min(rateIn, rateOut)
    private val high = max(rateIn, rateOut)
    private val integer = high % low == 0
    private val cutoff = if (integer) 0.9568718 else 0.95684
    private val beta = if (integer) 13.04 else 15.98

    /** Half of the length, in samples of the lower rate. */
    val half: Double = if (integer) {
        val ratio = high / low
        (4 * ceil((193.3 * ratio - 1) / 4) + 1) / 2 / ratio
    } else {
        110.0
    }
    private val scale = low.toDouble() / rateIn
    private val peak = bessel(beta)

    /** The coefficient `t` input samples from the centre. */
    fun at(t: Double): Float {
        val x = t * scale
        val r = x / half
        if (abs(r) >= 1) return 0f
        val y = PI * cutoff * x
        val sinc = if (abs(y) < 1e-9) 1.0 else sin(y) / y
        return (cutoff * sinc * scale * bessel(beta * sqrt(1 - r * r)) / peak).toFloat()
    }

    /** The modified Bessel function I0 by its power series. */
    private fun bessel(x: Double): Double {
        var sum = 1.0
        var term = 1.0
        var k = 1
        while (term > 1e-18 * sum) {
            term *= (x / (2 * k)) * (x / (2 * k))
            sum += term
            k++
        }
        return sum
    }
}
