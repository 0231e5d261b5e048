package org.stemedge.core

import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.min
import kotlin.math.roundToInt

/** Samples of a written WAV file: 16-bit integers clip at full scale, floats keep everything. */
enum class WavEncoding(internal val tag: Int, internal val bytes: Int) { PCM16(1, 2), FLOAT32(3, 4) }

/** Writes a WAV file block by block; [close] completes its header. Throws [EdgeException] where writing fails. */
class WavWriter(
    private val path: File,
    private val sampleRate: Int,
    private val channels: Int,
    private val encoding: WavEncoding,
) : AudioSink, AutoCloseable {
    private val file = guarded { RandomAccessFile(path, "rw").apply { setLength(0) } }
    private val bytes = ByteBuffer.allocate(BLOCK_FRAMES * channels * encoding.bytes).order(ByteOrder.LITTLE_ENDIAN)
    private var open = true

    /** Frames written. */
    var frames = 0L
        private set

    /** Samples that were clipped. */
    var clipped = 0L
        private set

    init {
        guarded { file.write(header()) }
    }

    override fun write(audio: Array<FloatArray>, count: Int) {
        var from = 0
        while (from < count) {
            val taken = min(BLOCK_FRAMES, count - from)
            var at = 0
            for (i in from until from + taken) {
                for (c in 0 until channels) {
                    put(at, audio[c][i])
                    at += encoding.bytes
                }
            }
            if ((frames + taken) * channels * encoding.bytes > MAX_BYTES) {
                throw EdgeException("${path.name}: longer than a WAV file can be (4 GB)")
            }
            guarded { file.write(bytes.array(), 0, at) }
            frames += taken
            from += taken
        }
    }

    override fun close() {
        if (!open) return
        open = false
        try {
            guarded {
                file.seek(0)
                file.write(header())
            }
        } finally {
            file.close()
        }
    }

    private fun put(at: Int, value: Float) {
        if (!value.isFinite()) throw EdgeException("the model gave samples that are not numbers; export it as fp32")
        if (encoding == WavEncoding.FLOAT32) {
            bytes.putFloat(at, value)
            return
        }
        if (value > 1f || value < -1f) clipped++
        bytes.putShort(at, (value * 32768f).roundToInt().coerceIn(-32768, 32767).toShort())
    }

    private fun header(): ByteArray {
        val size = frames * channels * encoding.bytes
        return ByteBuffer.allocate(44).order(ByteOrder.LITTLE_ENDIAN).run {
            put("RIFF".toByteArray()).putInt((36 + size).toInt()).put("WAVEfmt ".toByteArray()).putInt(16)
            putShort(encoding.tag.toShort()).putShort(channels.toShort()).putInt(sampleRate)
            putInt(sampleRate * channels * encoding.bytes).putShort((channels * encoding.bytes).toShort())
            putShort((8 * encoding.bytes).toShort()).put("data".toByteArray()).putInt(size.toInt())
            array()
        }
    }

    private inline fun <T> guarded(action: () -> T): T = try {
        action()
    } catch (error: IOException) {
        throw EdgeException("${path.name} cannot be written (${error.message}); free some storage and try again", error)
    }

    private companion object {
        const val MAX_BYTES = 0xffffffffL - 44
    }
}
