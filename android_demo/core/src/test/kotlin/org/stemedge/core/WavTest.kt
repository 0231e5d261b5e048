package org.stemedge.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Random

class WavTest {
    @get:Rule
    val folder = TemporaryFolder()

    @Test
    fun writtenFilesAreReadBack() {
        val audio = noise(3, 20_000, level = 0.1f)
        for ((encoding, tolerance) in listOf(WavEncoding.FLOAT32 to 0f, WavEncoding.PCM16 to 0.6f / 32768)) {
            val file = folder.newFile()
            WavWriter(file, 44100, 3, encoding).use { writer -> feed(audio, 9999, 1, writer::write) }
            val read = read(file)
            for (c in 0..2) assertArrayEquals(audio[c], read[c], tolerance)
        }
    }

    @Test
    fun loudSamplesClipAndAreCounted() {
        val file = folder.newFile()
        val writer = WavWriter(file, 8000, 1, WavEncoding.PCM16)
        writer.use { it.write(arrayOf(floatArrayOf(2f, -3f, 0.5f)), 3) }
        assertEquals(2L, writer.clipped)
        assertArrayEquals(floatArrayOf(32767f / 32768, -1f, 0.5f), read(file)[0], 0f)
    }

    @Test
    fun allIntegerWidthsAreRead() {
        for (width in 1..4) {
            val bytes = ByteBuffer.allocate(2 * width).order(ByteOrder.LITTLE_ENDIAN)
            for (i in 0..1) { // 0.5 and -0.25 of full scale
                val value = if (i == 0) 1L shl (8 * width - 2) else -(1L shl (8 * width - 3))
                val stored = if (width == 1) value + 128 else value
                for (b in 0 until width) bytes.put((stored shr (8 * b)).toByte())
            }
            assertArrayEquals("$width", floatArrayOf(0.5f, -0.25f), read(file(wav(1, 8 * width, bytes.array())))[0], 0f)
        }
    }

    @Test
    fun otherChunksAreSkippedAndStreamedFilesAreRead() {
        val plain = wav(1, 16, byteArrayOf(0, 64, 0, 64))
        val junk = plain.copyOf(12) + "LIST".toByteArray() + byteArrayOf(3, 0, 0, 0, 9, 9, 9, 0) + plain.copyOfRange(12, plain.size)
        assertArrayEquals(floatArrayOf(0.5f, 0.5f), read(file(junk))[0], 0f)
        val streamed = plain.clone().also { it.fill(-1, 40, 44) }
        assertArrayEquals(floatArrayOf(0.5f, 0.5f), read(file(streamed))[0], 0f)
    }

    @Test
    fun brokenFilesAreRefusedWithASentence() {
        val good = wav(1, 16, ByteArray(1000))
        assertTrue("cut off" in refused(good.copyOf(500)))
        assertTrue("no samples" in refused(wav(1, 16, ByteArray(0))))
        assertTrue("unknown kind" in refused(wav(85, 16, ByteArray(100))))
        assertTrue("not a WAV file" in refused("hello, this is text and no audio at all".toByteArray()))
        assertTrue("not a number" in refused(wav(3, 32, ByteArray(8).also { it.fill(-1) })))
        assertTrue("cannot be read" in messageOf { WavReader(File(folder.root, "nowhere.wav")) })
        val random = Random(5)
        repeat(500) {
            val damaged = good.clone()
            repeat(3) { damaged[random.nextInt(60)] = random.nextInt().toByte() }
            try {
                read(file(damaged))
            } catch (error: EdgeException) {
                assertTrue(error.message.isNotBlank())
            }
        }
    }

    private fun refused(content: ByteArray) = messageOf { read(file(content)) }

    private fun file(content: ByteArray) = folder.newFile().apply { writeBytes(content) }

    private fun wav(tag: Int, bits: Int, data: ByteArray): ByteArray =
        ByteBuffer.allocate(44 + data.size).order(ByteOrder.LITTLE_ENDIAN).apply {
            put("RIFF".toByteArray()).putInt(36 + data.size).put("WAVEfmt ".toByteArray()).putInt(16)
            putShort(tag.toShort()).putShort(1).putInt(8000).putInt(8000 * bits / 8).putShort((bits / 8).toShort())
            putShort(bits.toShort()).put("data".toByteArray()).putInt(data.size).put(data)
        }.array()

    private fun read(file: File): Array<FloatArray> = WavReader(file).use { reader ->
        val all = Collector(reader.channels)
        val block = planar(reader.channels, 1000)
        while (true) {
            val count = reader.read(block)
            if (count == 0) break
            all.write(block, count)
        }
        assertEquals(reader.frames, all.audio()[0].size.toLong())
        all.audio()
    }
}
