package org.stemedge.demo

import android.content.Context
import android.media.AudioFormat
import android.media.AudioTrack
import org.stemedge.core.BLOCK_FRAMES
import org.stemedge.core.EdgeException
import org.stemedge.core.StemMixer
import org.stemedge.core.planar

/** Plays a mix of stems; closed once, by its owner. All functions but those of the mixer: on the main thread. */
class StemPlayer(private val context: Context, val mixer: StemMixer) : AutoCloseable {
    /** Empty, or why it stopped. */
    val message = Watched("")
    val playing = Watched(false)

    @Volatile
    private var seekTo = -1L

    @Volatile
    private var wanted = false
    private var thread: Thread? = null

    /** 0 to 1. */
    val position: Double get() = mixer.position.toDouble() / mixer.frames

    fun play() {
        if (wanted) return
        wanted = true
        val before = thread
        thread = Thread({
            before?.join() // the mixer belongs to one thread at a time
            run()
        }, "stems").also { it.start() }
    }

    fun pause() {
        wanted = false
    }

    /** Continue at a share of the length. */
    fun seek(share: Double) {
        seekTo = (share * mixer.frames).toLong()
        if (!wanted) thread.also { last ->
            thread = Thread({
                last?.join()
                applySeek()
            }, "stems").also { it.start() }
        }
    }

    override fun close() {
        pause()
        val last = thread
        Thread({
            last?.join()
            mixer.close()
        }, "stems").start()
    }

    private fun run() {
        playing.set(true)
        message.set("")
        var track: AudioTrack? = null
        try {
            track = open()
            track.play()
            val block = planar(mixer.channels, BLOCK_FRAMES / 4)
            val interleaved = FloatArray(block.size * block[0].size)
            while (wanted) {
                applySeek()
                val count = mixer.read(block)
                if (count == 0) {
                    mixer.seek(0)
                    break
                }
                for (c in block.indices) for (i in 0 until count) interleaved[i * block.size + c] = block[c][i]
                val size = count * block.size
                if (track.write(interleaved, 0, size, AudioTrack.WRITE_BLOCKING) != size) {
                    throw EdgeException(context.getString(R.string.live_lost_player))
                }
            }
        } catch (error: Throwable) { // running out of memory is one of them
            message.set(context.sentence(error))
        } finally {
            track?.release()
            wanted = false
            playing.set(false)
        }
    }

    private fun applySeek() {
        val frame = seekTo
        if (frame >= 0) mixer.seek(frame)
        seekTo = -1
    }

    private fun open(): AudioTrack {
        val mask = if (mixer.channels == 1) AudioFormat.CHANNEL_OUT_MONO else AudioFormat.CHANNEL_OUT_STEREO
        try {
            return AudioTrack.Builder()
                .setAudioFormat(
                    AudioFormat.Builder().setEncoding(AudioFormat.ENCODING_PCM_FLOAT)
                        .setSampleRate(mixer.sampleRate).setChannelMask(mask).build(),
                ).build()
        } catch (error: UnsupportedOperationException) {
            throw EdgeException(context.getString(R.string.live_no_player), error)
        } catch (error: IllegalArgumentException) { // a rate that the player does not take
            throw EdgeException(context.getString(R.string.live_no_player), error)
        }
    }
}
