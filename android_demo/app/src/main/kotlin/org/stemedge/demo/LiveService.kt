package org.stemedge.demo

import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.PendingIntent
import android.app.Service
import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.content.pm.ServiceInfo
import android.media.AudioFocusRequest
import android.media.AudioManager
import android.os.Build
import android.os.Handler
import android.os.IBinder
import android.os.Looper
import org.stemedge.core.EdgeException
import org.stemedge.core.Task

/** What the Live screen shows. */
data class LiveState(
    val running: Boolean = false,
    val message: String = "",
    val inputPeak: Float = 0f,
    val outputPeak: Float = 0f,
    val figures: String = "",
)

/** Keeps the microphone while the app is not in front, as Android asks for it: a foreground service. */
class LiveService : Service() {
    private val main = Handler(Looper.getMainLooper())
    private var audio: LiveAudio? = null
    private var starting = false
    private var stopped = false
    private val focus by lazy {
        AudioFocusRequest.Builder(AudioManager.AUDIOFOCUS_GAIN).setAudioAttributes(LiveAudio.PLAYBACK)
            .setOnAudioFocusChangeListener { change ->
                if (change == AudioManager.AUDIOFOCUS_LOSS || change == AudioManager.AUDIOFOCUS_LOSS_TRANSIENT) {
                    stop(getString(R.string.live_interrupted))
                }
            }.build()
    }
    private val unplugged = object : BroadcastReceiver() {
        override fun onReceive(context: Context, intent: Intent) = stop(getString(R.string.live_unplugged))
    }

    override fun onBind(intent: Intent): IBinder? = null

    override fun onCreate() {
        super.onCreate()
        registerReceiver(unplugged, IntentFilter(AudioManager.ACTION_AUDIO_BECOMING_NOISY))
    }

    override fun onStartCommand(intent: Intent?, flags: Int, startId: Int): Int {
        if (!becomeForeground()) return START_NOT_STICKY
        val name = intent?.getStringExtra(BUNDLE)
        if (name == null || starting || audio != null) return START_NOT_STICKY
        starting = true
        state.set(LiveState(running = true, message = getString(R.string.loading)))
        inBackground({
            requireMemory()
            val chosen = microphone?.let { inputDevice(it) ?: throw EdgeException(getString(R.string.live_microphone_gone)) }
            val bundle = demo.bundles.open(name).require(Task.ENHANCE)
            val graph = loadChecked(bundle, threads = 1)
            LiveAudio(this, bundle.manifest, graph, chosen) { message -> main.post { stop(message ?: "") } }
        }, ::stop, ::begin)
        return START_NOT_STICKY
    }

    override fun onDestroy() {
        unregisterReceiver(unplugged)
        audioManager.abandonAudioFocusRequest(focus)
        main.removeCallbacksAndMessages(null)
        stopped = true
        audio?.finish()
        if (state.value.running) state.set(LiveState())
        super.onDestroy()
    }

    private fun begin(ready: LiveAudio) {
        audio = ready
        starting = false
        if (stopped) ready.finish() // it still has to close its graph
        ready.start()
        if (stopped) return
        audioManager.requestAudioFocus(focus)
        report()
    }

    private fun stop(message: String) {
        if (stopped) return // the first reason is the one to tell
        stopped = true
        audio?.finish()
        state.set(LiveState(message = message))
        stopSelf()
    }

    /** Ten times a second, the meters and counters. */
    private fun report() {
        val audio = audio ?: return
        val enhancer = audio.enhancer
        enhancer.enabled = enhanced
        enhancer.attenLimit = attenLimit
        val (input, output) = enhancer.takePeaks()
        val figures = text(
            R.string.live_figures, audio.rate, 1000 * enhancer.latencySeconds, 100 * enhancer.load,
            enhancer.lateRuns, audio.underruns, audio.dropped + enhancer.dropped,
        )
        val (device, running) = audio.heard ?: (null to null)
        val named = device?.let { text(R.string.live_microphone_heard, label(it), figures) } ?: figures
        val warning = device?.asMicrophone()?.let { narrowWarning(it, running) } ?: ""
        if (!stopped) state.set(LiveState(true, warning, input, output, named))
        main.postDelayed(::report, REPORT_MILLISECONDS)
    }

    /** False where the system refuses, which it does when the app is not in front. */
    private fun becomeForeground(): Boolean {
        val manager = getSystemService(NotificationManager::class.java)
        manager.createNotificationChannel(
            NotificationChannel(CHANNEL, getString(R.string.live_channel), NotificationManager.IMPORTANCE_LOW),
        )
        val screen = Intent(this, LiveActivity::class.java)
        val open = PendingIntent.getActivity(this, 0, screen, PendingIntent.FLAG_IMMUTABLE)
        val notification = Notification.Builder(this, CHANNEL).setSmallIcon(R.drawable.ic_microphone)
            .setContentTitle(getString(R.string.app_name)).setContentText(getString(R.string.live_notification))
            .setContentIntent(open).setOngoing(true).build()
        return try {
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R) {
                startForeground(1, notification, ServiceInfo.FOREGROUND_SERVICE_TYPE_MICROPHONE)
            } else {
                startForeground(1, notification)
            }
            true
        } catch (_: SecurityException) {
            stop(getString(R.string.live_not_allowed))
            false
        } catch (_: IllegalStateException) { // ForegroundServiceStartNotAllowedException of Android 12
            stop(getString(R.string.live_not_allowed))
            false
        }
    }

    companion object {
        private const val CHANNEL = "live"
        private const val BUNDLE = "bundle"
        private const val REPORT_MILLISECONDS = 100L
        val state = Watched(LiveState())

        /** The A/B switch; it may be thrown before and while the service runs. */
        @Volatile
        var enhanced = true

        /** The number of the microphone to use from the next start on; null: the system's choice. */
        @Volatile
        var microphone: Int? = null

        /** The most that is taken away, dB; null: no limit. As [enhanced]. */
        @Volatile
        var attenLimit: Double? = null

        fun start(context: Context, bundle: String) {
            context.startForegroundService(Intent(context, LiveService::class.java).putExtra(BUNDLE, bundle))
        }

        fun stop(context: Context) {
            context.stopService(Intent(context, LiveService::class.java))
        }
    }
}
