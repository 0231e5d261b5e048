package org.stemedge.core

/** Takes audio as one array a channel, of which the first `count` values hold; they are only lent for the call. */
fun interface AudioSink {
    fun write(audio: Array<FloatArray>, count: Int)
}

/** Decoded audio, read once from start to end, full scale +-1. */
interface AudioSource : AutoCloseable {
    val sampleRate: Int
    val channels: Int

    /** Expected length; 0 where unknown. */
    val frames: Long

    /** Fill the start of each channel's array; the number of frames read, 0 at the end. Throws [EdgeException]. */
    fun read(into: Array<FloatArray>): Int

    override fun close()
}

/** Opens the same audio from its start, as often as it is called. */
fun interface AudioOpener {
    fun open(): AudioSource
}

/** `channels` arrays of `frames` values. */
fun planar(channels: Int, frames: Int): Array<FloatArray> = Array(channels) { FloatArray(frames) }

/** The number of frames in a block of files. */
const val BLOCK_FRAMES = 8192
