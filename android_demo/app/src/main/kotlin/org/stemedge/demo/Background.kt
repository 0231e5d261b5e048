package org.stemedge.demo

import android.app.ActivityManager
import android.content.ActivityNotFoundException
import android.content.Context
import android.os.Handler
import android.os.Looper
import android.util.Log
import org.stemedge.core.EdgeException
import java.io.IOException
import java.util.concurrent.Executors

/** A value that screens watch; listeners are called on the main thread, at once and after every change. */
class Watched<T>(initial: T) {
    private val listeners = LinkedHashSet<(T) -> Unit>()

    @Volatile
    var value: T = initial
        private set

    /** May be called on any thread. */
    fun set(next: T) {
        value = next
        main.post { listeners.toList().forEach { it(value) } }
    }

    fun watch(listener: (T) -> Unit) {
        listeners += listener
        listener(value)
    }

    fun unwatch(listener: (T) -> Unit) {
        listeners -= listener
    }
}

private val main = Handler(Looper.getMainLooper())
private val workers = Executors.newCachedThreadPool()

/** Run `work` on a worker thread, then `done` or `failed` with a sentence on the main thread. */
fun <T> Context.inBackground(work: () -> T, failed: (String) -> Unit, done: (T) -> Unit) {
    workers.execute {
        try {
            val result = work()
            main.post { done(result) }
        } catch (error: Throwable) { // running out of memory is one of them
            val sentence = sentence(error)
            main.post { failed(sentence) }
        }
    }
}

/** What to tell the user of a failure. */
fun Context.sentence(error: Throwable): String {
    if (error !is EdgeException) Log.w(LOG, error)
    return when (error) {
        is EdgeException -> error.message
        is OutOfMemoryError -> getString(R.string.error_memory)
        is IOException, is SecurityException ->
            text(R.string.error_storage, error.message ?: error.javaClass.simpleName)
        is ActivityNotFoundException -> getString(R.string.error_no_app)
        else -> text(R.string.error_unexpected, error.javaClass.simpleName)
    }
}

/** Refuse to load a model where the system already kills processes for memory. */
fun Context.requireMemory() {
    val info = ActivityManager.MemoryInfo()
    getSystemService(ActivityManager::class.java).getMemoryInfo(info)
    if (info.lowMemory) throw EdgeException(getString(R.string.error_memory))
}

const val LOG = "stem-edge"
