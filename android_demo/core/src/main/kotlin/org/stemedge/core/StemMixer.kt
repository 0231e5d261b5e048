package org.stemedge.core

import java.io.File
import kotlin.math.max
import kotlin.math.min

/**
 * Mixes stems from WAV files of one rate and channel count while they play, each muted or soloed at any time.
 *
 * One thread calls [read] and [seek]; any thread may mute, solo and look at [position].
 */
class StemMixer(files: List<File>) : AudioSource {
    private val readers = ArrayList<WavReader>()
    private val muted = BooleanArray(files.size)
    private val soloed = BooleanArray(files.size)
    private val block: Array<FloatArray>
    private val gains = FloatArray(files.size) { 1f }

    @Volatile
    private var targets = FloatArray(files.size) { 1f }
    override val sampleRate: Int
    override val channels: Int
    override val frames: Long

    /** The next frame to be read. */
    @Volatile
    var position = 0L
        private set

    init {
        try {
            for (file in files) readers += WavReader(file)
            sampleRate = readers[0].sampleRate
            channels = readers[0].channels
            frames = readers.minOf { it.frames }
            if (readers.any { it.sampleRate != sampleRate || it.channels != channels }) {
                throw EdgeException("the stems are of different rates or channel counts; separate the song again")
            }
        } catch (error: EdgeException) {
            close()
            throw error
        }
        block = planar(channels, BLOCK_FRAMES)
    }

    fun mute(stem: Int, on: Boolean) = update { muted[stem] = on }

    fun solo(stem: Int, on: Boolean) = update { soloed[stem] = on }

    fun isMuted(stem: Int) = muted[stem]

    fun isSoloed(stem: Int) = soloed[stem]

    /** Continue at a frame. */
    fun seek(frame: Long) {
        position = min(max(0, frame), frames)
        readers.forEach { it.seek(position) }
    }

    override fun read(into: Array<FloatArray>): Int {
        val count = min(min(into[0].size, BLOCK_FRAMES).toLong(), frames - position).toInt()
        if (count <= 0) return 0
        for (channel in into) channel.fill(0f, 0, count)
        val ends = targets
        for (s in readers.indices) {
            readers[s].read(block)
            readers[s].seek(position + count) // a block may be longer than asked for
            for (c in into.indices) add(into[c], block[c], count, gains[s], ends[s])
            gains[s] = ends[s]
        }
        position += count
        return count
    }

    override fun close() = readers.forEach { it.close() }

    /** A change of level is spread over the block, so that it does not click. */
    private fun add(into: FloatArray, stem: FloatArray, count: Int, from: Float, to: Float) {
        val step = (to - from) / count
        for (i in 0 until count) into[i] += (from + step * (i + 1)) * stem[i]
    }

    @Synchronized
    private fun update(change: () -> Unit) {
        change()
        val anySolo = soloed.any { it }
        targets = FloatArray(muted.size) { if (if (anySolo) soloed[it] else !muted[it]) 1f else 0f }
    }
}
