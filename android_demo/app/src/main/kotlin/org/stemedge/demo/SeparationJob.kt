package org.stemedge.demo

import android.content.Context
import android.net.Uri
import org.stemedge.core.CancelledException
import org.stemedge.core.EdgeException
import org.stemedge.core.StemMixer
import org.stemedge.core.Task
import org.stemedge.core.separateRecording
import java.io.File

/** What the Separate screen shows. */
sealed interface Separation {
    /** Nothing is under way; `message` says why, empty at first. */
    data class Idle(val message: String = "") : Separation

    data class Running(val title: String, val share: Double) : Separation

    class Done(val message: String, val stems: List<File>, val player: StemPlayer) : Separation
}

/** Separates one song at a time, whatever becomes of the screen; the stems of the last one are kept. */
class SeparationJob(private val context: Context) {
    val state = Watched<Separation>(Separation.Idle())

    @Volatile
    private var cancelled = false

    fun start(uri: Uri, bundleName: String) {
        if (state.value is Separation.Running) return
        (state.value as? Separation.Done)?.player?.close()
        cancelled = false
        state.set(Separation.Running("", 0.0))
        context.inBackground({ separate(uri, bundleName) }, { state.set(Separation.Idle(it)) }, state::set)
    }

    fun cancel() {
        cancelled = true
    }

    private fun separate(uri: Uri, bundleName: String): Separation {
        context.requireMemory()
        val title = displayName(context, uri)
        state.set(Separation.Running(title, 0.0))
        val bundle = context.demo.bundles.open(bundleName).require(Task.SEPARATE)
        val seconds = MediaSource(context, uri, title).use {
            requireStorage(it.frames * it.sampleBytes(bundle.manifest.channels, bundle.manifest.sources.size))
            it.frames.toDouble() / it.sampleRate
        }
        val started = System.nanoTime()
        val threads = Runtime.getRuntime().availableProcessors().coerceAtMost(MAX_THREADS)
        try {
            val stems = loadChecked(bundle, threads).use { graph ->
                separateRecording(bundle, graph, { MediaSource(context, uri, title) }, folder) { share ->
                    if (cancelled) throw CancelledException()
                    val shown = state.value
                    if (shown !is Separation.Running || share - shown.share > 0.005) {
                        state.set(Separation.Running(title, share))
                    }
                }
            }
            val took = (System.nanoTime() - started) / 1e9
            val message = context.text(R.string.separate_done, title, stems.size, took, seconds / took)
            return Separation.Done(message, stems, StemPlayer(context, StemMixer(stems)))
        } catch (_: CancelledException) {
            return Separation.Idle(context.getString(R.string.separate_cancelled))
        }
    }

    private val folder get() = File(context.filesDir, "stems")

    private fun MediaSource.sampleBytes(channels: Int, sources: Int) = 2L * channels * sources

    private fun requireStorage(bytes: Long) {
        folder.deleteRecursively() // the stems of the last song
        val free = context.filesDir.usableSpace
        if (bytes + SPARE_BYTES > free) {
            throw EdgeException(context.text(R.string.separate_no_storage, bytes + SPARE_BYTES shr 20, free shr 20))
        }
    }

    private companion object {
        const val MAX_THREADS = 4 // beyond, phones have slower cores, which the others would wait for
        const val SPARE_BYTES = 50L shl 20
    }
}
