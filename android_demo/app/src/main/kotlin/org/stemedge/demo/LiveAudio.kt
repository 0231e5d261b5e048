package org.stemedge.demo

import android.content.Context
import android.media.AudioAttributes
import android.media.AudioDeviceInfo
import android.media.AudioFormat
import android.media.AudioManager
import android.media.AudioRecord
import android.media.AudioTrack
import android.media.MediaRecorder
import android.os.Process
import org.stemedge.core.EdgeException
import org.stemedge.core.Graph
import org.stemedge.core.LiveEnhancer
import org.stemedge.core.Manifest
import org.stemedge.core.MicrophoneKind
import kotlin.math.max

/**
 * Microphone -> enhancer -> player on one thread of audio priority, at the device's own rate.
 *
 * Capture and playback run from one clock, so the loop is paced by reading; what the player cannot take waits in the
 * enhancer's output buffer, and is dropped beyond [MAX_WAITING_SECONDS] so that the latency stays bounded.
 * `microphone` is null for the system's choice.
 */
class LiveAudio(
    private val context: Context,
    manifest: Manifest,
    private val graph: Graph,
    private val microphone: AudioDeviceInfo?,
    private val ended: (String?) -> Unit,
) : Thread("live-audio") {
    val rate = property(AudioManager.PROPERTY_OUTPUT_SAMPLE_RATE) ?: 48000
    private val inCall = microphone != null && MicrophoneKind.of(microphone.type)?.needsCall == true
    val enhancer = LiveEnhancer(manifest, graph, rate)
    private val block = FloatArray(rate * manifest.hop / manifest.sampleRate)

    @Volatile
    private var stopping = false

    /** Times that the player ran dry. */
    @Volatile
    var underruns = 0
        private set

    /** The microphone that is heard and its own rate in Hz, null where the system does not tell it. */
    @Volatile
    var heard: Pair<AudioDeviceInfo, Int?>? = null
        private set

    /** Samples dropped to keep the latency bounded. */
    @Volatile
    var dropped = 0L
        private set

    /** May be called on any thread; `ended(null)` follows. */
    fun finish() {
        stopping = true
    }

    override fun run() {
        Process.setThreadPriority(Process.THREAD_PRIORITY_URGENT_AUDIO)
        val link = if (inCall) microphone?.let { CallLink(context, it) } else null
        val message = try {
            if (!stopping) recorder().use { record -> player().use { track -> loop(record, track) } }
            null
        } catch (error: Throwable) { // running out of memory is one of them
            context.sentence(error)
        } finally {
            link?.close()
            graph.close()
        }
        ended(message)
    }

    private fun loop(record: AudioRecord, track: AudioTrack) {
        record.startRecording()
        if (record.recordingState != AudioRecord.RECORDSTATE_RECORDING) fail(R.string.live_lost_microphone)
        track.play()
        val waiting = FloatArray(rate)
        var left = 0 // of `waiting`: samples that the player had no room for
        val most = (MAX_WAITING_SECONDS * rate).toInt()
        var looked = 0L // a headset's link takes seconds to come, and the system may change its mind
        while (!stopping) {
            val count = record.read(block, 0, block.size, AudioRecord.READ_BLOCKING)
            if (count < 0) fail(R.string.live_lost_microphone)
            if (enhancer.runs >= looked) {
                heard = context.heardBy(record)
                looked = enhancer.runs + LOOK_RUNS
            }
            enhancer.process(block, count)
            left += enhancer.output.read(waiting, waiting.size - left, left)
            if (left > most) {
                dropped += left - most
                System.arraycopy(waiting, left - most, waiting, 0, most)
                left = most
            }
            val written = track.write(waiting, 0, left, AudioTrack.WRITE_NON_BLOCKING)
            if (written < 0) fail(R.string.live_lost_player)
            left -= written
            System.arraycopy(waiting, written, waiting, 0, left)
            underruns = track.underrunCount
        }
    }

    private fun recorder(): AudioRecord {
        val format = format(AudioFormat.CHANNEL_IN_MONO)
        val least = AudioRecord.getMinBufferSize(rate, AudioFormat.CHANNEL_IN_MONO, AudioFormat.ENCODING_PCM_FLOAT)
        if (least <= 0) fail(R.string.live_no_microphone)
        val record = try {
            AudioRecord.Builder()
                .setAudioSource(MediaRecorder.AudioSource.VOICE_RECOGNITION) // without the system's own processing
                .setAudioFormat(format)
                .setBufferSizeInBytes(max(least, 4 * 4 * block.size))
                .build()
        } catch (error: UnsupportedOperationException) {
            throw EdgeException(context.getString(R.string.live_no_microphone), error)
        } catch (error: SecurityException) {
            throw EdgeException(context.getString(R.string.live_no_permission), error)
        }
        if (record.state != AudioRecord.STATE_INITIALIZED) {
            record.release()
            fail(R.string.live_no_microphone)
        }
        if (microphone != null && !record.setPreferredDevice(microphone)) {
            record.release()
            fail(R.string.live_microphone_gone)
        }
        return record
    }

    private fun player(): AudioTrack {
        val least = AudioTrack.getMinBufferSize(rate, AudioFormat.CHANNEL_OUT_MONO, AudioFormat.ENCODING_PCM_FLOAT)
        if (least <= 0) fail(R.string.live_no_player)
        val track = try {
            AudioTrack.Builder()
                .setAudioAttributes(if (inCall) CALL else PLAYBACK)
                .setAudioFormat(format(AudioFormat.CHANNEL_OUT_MONO))
                .setPerformanceMode(AudioTrack.PERFORMANCE_MODE_LOW_LATENCY)
                .setBufferSizeInBytes(least)
                .build()
        } catch (error: UnsupportedOperationException) {
            throw EdgeException(context.getString(R.string.live_no_player), error)
        }
        if (track.state != AudioTrack.STATE_INITIALIZED) {
            track.release()
            fail(R.string.live_no_player)
        }
        // Two hops and a burst of the device: enough for a run of the graph between two writes.
        val burst = property(AudioManager.PROPERTY_OUTPUT_FRAMES_PER_BUFFER) ?: 256
        track.setBufferSizeInFrames(2 * block.size + burst)
        return track
    }

    private fun format(channels: Int): AudioFormat = AudioFormat.Builder()
        .setEncoding(AudioFormat.ENCODING_PCM_FLOAT).setSampleRate(rate).setChannelMask(channels).build()

    private fun property(key: String): Int? =
        context.audioManager.getProperty(key)?.toIntOrNull()?.takeIf { it > 0 }

    private fun fail(message: Int): Nothing = throw EdgeException(context.getString(message))

    companion object {
        private const val MAX_WAITING_SECONDS = 0.06
        private const val LOOK_RUNS = 100L // of the graph, about a second

        /** While a headset holds a link for calls, it plays nothing else. */
        private val CALL: AudioAttributes = AudioAttributes.Builder()
            .setUsage(AudioAttributes.USAGE_VOICE_COMMUNICATION).setContentType(AudioAttributes.CONTENT_TYPE_SPEECH).build()
        val PLAYBACK: AudioAttributes = AudioAttributes.Builder()
            .setUsage(AudioAttributes.USAGE_MEDIA).setContentType(AudioAttributes.CONTENT_TYPE_SPEECH).build()
    }
}

private inline fun AudioRecord.use(action: (AudioRecord) -> Unit) = try {
    action(this)
} finally {
    release()
}

private inline fun AudioTrack.use(action: (AudioTrack) -> Unit) = try {
    action(this)
} finally {
    release()
}
