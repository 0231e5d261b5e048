package org.stemedge.demo

import android.content.Context
import android.media.AudioFormat
import android.media.MediaCodec
import android.media.MediaExtractor
import android.media.MediaFormat
import android.net.Uri
import org.stemedge.core.AudioSource
import org.stemedge.core.EdgeException
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.min

/** A recording decoded by Android's own codecs, in a constant amount of memory. */
class MediaSource(private val context: Context, uri: Uri, private val name: String) : AudioSource {
    private val extractor = MediaExtractor()
    private val codec: MediaCodec
    private val info = MediaCodec.BufferInfo()
    private var output: ByteBuffer? = null // of the codec's buffer `outputIndex`, read from its position on
    private var outputIndex = -1
    private var inputEnded = false
    private var ended = false
    private var float = false
    override var sampleRate = 0
        private set
    override var channels = 0
        private set
    override val frames: Long

    init {
        var decoder: MediaCodec? = null
        try {
            extractor.setDataSource(context, uri, null)
            val track = (0 until extractor.trackCount).find { mime(it).startsWith("audio/") } ?: noAudio(null)
            extractor.selectTrack(track)
            val format = extractor.getTrackFormat(track)
            decoder = MediaCodec.createDecoderByType(mime(track))
            codec = decoder
            codec.configure(format, null, null, 0)
            codec.start()
            readFormat(format)
            while (output == null && !ended) decode() // the decoder knows rate and channels better than the file
            val timed = format.containsKey(MediaFormat.KEY_DURATION)
            frames = if (timed) format.getLong(MediaFormat.KEY_DURATION) * sampleRate / 1_000_000 else 0
        } catch (error: IOException) {
            release(decoder)
            noAudio(error)
        } catch (error: IllegalArgumentException) {
            release(decoder)
            noAudio(error)
        } catch (error: IllegalStateException) {
            release(decoder)
            noAudio(error)
        } catch (error: SecurityException) {
            release(decoder)
            throw EdgeException(context.text(R.string.separate_unreadable, name, error.message), error)
        }
    }

    override fun read(into: Array<FloatArray>): Int {
        try {
            while (output == null && !ended) decode()
        } catch (error: IllegalStateException) {
            throw EdgeException(context.text(R.string.separate_unreadable, name, error.message), error)
        }
        val buffer = output ?: return 0
        val width = (if (float) 4 else 2) * channels
        val count = min(into[0].size, buffer.remaining() / width)
        for (i in 0 until count) {
            for (channel in into) channel[i] = if (float) clean(buffer.getFloat()) else buffer.getShort() / 32768f
        }
        if (buffer.remaining() < width) giveBack()
        return if (count > 0) count else read(into)
    }

    override fun close() = release(codec)

    /** Feed the decoder, and take what it has: a buffer of audio, another format, the end, or nothing yet. */
    private fun decode() {
        if (!inputEnded) {
            val index = codec.dequeueInputBuffer(WAIT_MICROSECONDS)
            if (index >= 0) {
                val size = extractor.readSampleData(codec.getInputBuffer(index)!!, 0)
                inputEnded = size < 0
                val flags = if (inputEnded) MediaCodec.BUFFER_FLAG_END_OF_STREAM else 0
                val time = extractor.sampleTime.coerceAtLeast(0)
                codec.queueInputBuffer(index, 0, size.coerceAtLeast(0), time, flags)
                if (!inputEnded) extractor.advance()
            }
        }
        val index = codec.dequeueOutputBuffer(info, WAIT_MICROSECONDS)
        if (index == MediaCodec.INFO_OUTPUT_FORMAT_CHANGED) readFormat(codec.outputFormat)
        if (index < 0) return
        outputIndex = index
        if (info.flags and MediaCodec.BUFFER_FLAG_END_OF_STREAM != 0) ended = true
        if (info.size == 0) return giveBack()
        output = codec.getOutputBuffer(index)!!.order(ByteOrder.nativeOrder()).also { view(it) }
    }

    // Through java.nio.Buffer: the overrides of ByteBuffer came with Android 9.
    private fun view(buffer: java.nio.Buffer) {
        buffer.limit(info.offset + info.size)
        buffer.position(info.offset)
    }

    private fun giveBack() {
        codec.releaseOutputBuffer(outputIndex, false)
        output = null
    }

    private fun readFormat(format: MediaFormat) {
        val rate = format.getInteger(MediaFormat.KEY_SAMPLE_RATE)
        val count = format.getInteger(MediaFormat.KEY_CHANNEL_COUNT)
        val started = output != null || outputIndex >= 0
        if (started && (rate != sampleRate || count != channels)) {
            throw EdgeException(context.text(R.string.separate_changes, name))
        }
        sampleRate = rate
        channels = count
        float = format.containsKey(MediaFormat.KEY_PCM_ENCODING) &&
            format.getInteger(MediaFormat.KEY_PCM_ENCODING) == AudioFormat.ENCODING_PCM_FLOAT
    }

    private fun clean(sample: Float) = if (sample.isFinite()) sample else 0f

    private fun mime(track: Int) = extractor.getTrackFormat(track).getString(MediaFormat.KEY_MIME).orEmpty()

    private fun noAudio(cause: Throwable?): Nothing =
        throw EdgeException(context.text(R.string.separate_no_audio, name), cause)

    private fun release(decoder: MediaCodec?) {
        decoder?.release()
        extractor.release()
    }

    private companion object {
        const val WAIT_MICROSECONDS = 10_000L
    }
}
