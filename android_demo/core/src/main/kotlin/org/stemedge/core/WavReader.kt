package org.stemedge.core

import java.io.EOFException
import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.max
import kotlin.math.min

/** A WAV or RF64 file of 8, 16, 24 or 32-bit integers or 32 or 64-bit floats. Throws [EdgeException] otherwise. */
class WavReader(private val path: File) : AudioSource {
    private val file = try {
        RandomAccessFile(path, "r")
    } catch (error: IOException) {
        throw EdgeException("${path.name}: cannot be read (${error.message})", error)
    }
    override var sampleRate = 0
        private set
    override var channels = 0
        private set
    override val frames: Long
    private var float = false
    private var width = 0 // bytes a sample
    private val dataStart: Long
    private var position = 0L // frames
    private val bytes: ByteBuffer

    init {
        try {
            val (start, size) = findData()
            dataStart = start
            frames = size / (width * channels)
        } catch (error: EOFException) {
            close()
            throw EdgeException("${path.name}: not a WAV file, or cut off in its header", error)
        } catch (error: IOException) {
            close()
            throw EdgeException("${path.name}: cannot be read (${error.message})", error)
        } catch (error: EdgeException) {
            close()
            throw error
        }
        bytes = ByteBuffer.allocate(BLOCK_FRAMES * width * channels).order(ByteOrder.LITTLE_ENDIAN)
    }

    override fun read(into: Array<FloatArray>): Int {
        val count = min(min(into[0].size, BLOCK_FRAMES).toLong(), frames - position).toInt()
        if (count <= 0) return 0
        try {
            file.seek(dataStart + position * width * channels)
            file.readFully(bytes.array(), 0, count * width * channels)
        } catch (error: IOException) {
            throw EdgeException("${path.name}: cut off after $position of $frames frames", error)
        }
        var at = 0
        for (i in 0 until count) {
            for (channel in into) {
                channel[i] = sample(at)
                at += width
            }
        }
        for (c in into.indices) {
            for (i in 0 until count) {
                if (!into[c][i].isFinite()) {
                    throw EdgeException("${path.name}: sample ${position + i} of channel ${c + 1} is not a number")
                }
            }
        }
        position += count
        return count
    }

    /** Continue reading at a frame. */
    fun seek(frame: Long) {
        position = min(max(0, frame), frames)
    }

    override fun close() = file.close()

    private fun sample(at: Int): Float = when {
        float && width == 4 -> bytes.getFloat(at)
        float -> bytes.getDouble(at).toFloat()
        width == 2 -> bytes.getShort(at) / 32768f
        width == 1 -> ((bytes.get(at).toInt() and 0xff) - 128) / 128f
        width == 3 -> ((bytes.getShort(at + 1).toInt() shl 8) or (bytes.get(at).toInt() and 0xff)) / 8388608f
        else -> bytes.getInt(at) / 2147483648f
    }

    /** Walk the chunks to the audio: its place in the file and size in bytes. */
    private fun findData(): Pair<Long, Long> {
        val id = text()
        u32()
        if (id != "RIFF" && id != "RF64" || text() != "WAVE") throw EdgeException("${path.name}: not a WAV file")
        var longSize = -1L // of an RF64 file
        while (true) {
            val chunk = text()
            val size = u32()
            val start = file.filePointer
            when (chunk) {
                "ds64" -> {
                    file.seek(start + 8)
                    longSize = u32() or (u32() shl 32)
                }
                "fmt " -> readFormat(size)
                "data" -> {
                    if (width == 0) throw EdgeException("${path.name}: a WAV file without a format")
                    return start to dataSize(start, size, longSize)
                }
            }
            file.seek(start + size + (size and 1))
        }
    }

    private fun dataSize(start: Long, size: Long, longSize: Long): Long {
        val there = file.length() - start
        val declared = if (size == 0xffffffffL) (if (longSize >= 0) longSize else there) else size
        if (declared > there) {
            throw EdgeException("${path.name}: cut off: ${max(0, there)} of $declared bytes of audio are there")
        }
        if (declared < width * channels) throw EdgeException("${path.name}: the file holds no samples")
        return declared
    }

    private fun readFormat(size: Long) {
        var tag = u16()
        channels = u16()
        sampleRate = u32().toInt()
        u32()
        u16()
        val bits = u16()
        if (tag == EXTENSIBLE && size >= 26) {
            file.seek(file.filePointer + 8)
            tag = u16()
        }
        float = tag == FLOAT
        width = bits / 8
        val known = if (float) bits == 32 || bits == 64 else tag == PCM && bits in setOf(8, 16, 24, 32)
        if (!known || channels !in 1..64 || sampleRate !in 100..1_000_000) {
            throw EdgeException("${path.name}: a WAV file of an unknown kind (format $tag, $bits bits)")
        }
    }

    private fun text(): String = ByteArray(4).also(file::readFully).toString(Charsets.ISO_8859_1)

    private fun u16(): Int = file.readUnsignedByte() or (file.readUnsignedByte() shl 8)

    private fun u32(): Long = u16().toLong() or (u16().toLong() shl 16)

    private companion object {
        const val PCM = 1
        const val FLOAT = 3
        const val EXTENSIBLE = 0xfffe
    }
}
