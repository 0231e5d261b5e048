package org.stemedge.demo

import android.Manifest
import android.app.Activity
import android.content.Intent
import android.content.pm.PackageManager
import android.media.AudioDeviceCallback
import android.media.AudioDeviceInfo
import android.net.Uri
import android.os.Build
import android.os.Bundle
import android.provider.Settings
import android.widget.Button
import android.widget.ProgressBar
import android.widget.SeekBar
import android.widget.Spinner
import android.widget.Switch
import android.widget.TextView
import org.stemedge.core.Task
import kotlin.math.log10
import kotlin.math.max

/** Starts and stops [LiveService], and shows what it does. */
class LiveActivity : Activity() {
    private val message by lazy { findViewById<TextView>(R.id.message) }
    private val toggle by lazy { findViewById<Button>(R.id.toggle) }
    private val settings by lazy { findViewById<Button>(R.id.settings) }
    private val microphone by lazy { findViewById<Spinner>(R.id.microphone) }
    private val show: (LiveState) -> Unit = ::show
    private var chosen: String? = null
    private val plugged = object : AudioDeviceCallback() {
        override fun onAudioDevicesAdded(added: Array<out AudioDeviceInfo>) = showMicrophones()

        override fun onAudioDevicesRemoved(removed: Array<out AudioDeviceInfo>) = showMicrophones()
    }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_live)
        toggle.setOnClickListener { if (LiveService.state.value.running) LiveService.stop(this) else start() }
        findViewById<Switch>(R.id.enhanced).apply {
            isChecked = LiveService.enhanced
            setOnCheckedChangeListener { _, on -> LiveService.enhanced = on }
        }
        findViewById<SeekBar>(R.id.strength).apply {
            max = FULL_STRENGTH
            progress = LiveService.attenLimit?.toInt() ?: FULL_STRENGTH
            showStrength()
            setOnSeekBarChangeListener(object : SeekBar.OnSeekBarChangeListener {
                override fun onProgressChanged(bar: SeekBar, value: Int, byUser: Boolean) {
                    LiveService.attenLimit = if (value == FULL_STRENGTH) null else value.toDouble()
                    showStrength()
                }

                override fun onStartTrackingTouch(bar: SeekBar) = Unit

                override fun onStopTrackingTouch(bar: SeekBar) = Unit
            })
        }
        settings.setOnClickListener {
            val page = Intent(Settings.ACTION_APPLICATION_DETAILS_SETTINGS, Uri.fromParts("package", packageName, null))
            pick(page, SETTINGS) { message.text = it }
        }
        inBackground({ demo.bundles.names(Task.ENHANCE) }, { message.text = it }) { names ->
            if (names.isEmpty()) message.setText(R.string.no_fitting_bundle)
            findViewById<Spinner>(R.id.bundle).show(names) {
                chosen = it
                show(LiveService.state.value)
            }
        }
    }

    override fun onStart() {
        super.onStart()
        LiveService.state.watch(show)
        audioManager.registerAudioDeviceCallback(plugged, null) // it is called at once
    }

    override fun onStop() {
        audioManager.unregisterAudioDeviceCallback(plugged)
        LiveService.state.unwatch(show)
        super.onStop()
    }

    override fun onRequestPermissionsResult(requestCode: Int, permissions: Array<String>, grantResults: IntArray) {
        if (permissions.isEmpty()) return // the question was interrupted, as by a rotation
        if (isAllowed()) {
            start()
        } else {
            message.setText(R.string.live_no_permission)
            settings.visible(true)
        }
    }

    private fun start() {
        val bundle = chosen ?: return
        if (!isAllowed()) {
            // Notifications may be refused: the service then runs without one in sight.
            val wanted = mutableListOf(Manifest.permission.RECORD_AUDIO)
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) wanted += Manifest.permission.POST_NOTIFICATIONS
            requestPermissions(wanted.toTypedArray(), PERMISSION)
            return
        }
        settings.visible(false)
        if (!packageManager.hasSystemFeature(PackageManager.FEATURE_MICROPHONE)) {
            message.setText(R.string.live_no_microphone)
            return
        }
        try {
            LiveService.start(this, bundle)
        } catch (_: IllegalStateException) { // the app is not in front any more
            message.setText(R.string.live_not_allowed)
        }
    }

    private fun isAllowed() = checkSelfPermission(Manifest.permission.RECORD_AUDIO) == PackageManager.PERMISSION_GRANTED

    private fun show(state: LiveState) {
        toggle.isEnabled = state.running || chosen != null
        toggle.setText(if (state.running) R.string.live_stop else R.string.live_start)
        microphone.isEnabled = !state.running
        findViewById<ProgressBar>(R.id.input_level).progress = level(state.inputPeak)
        findViewById<ProgressBar>(R.id.output_level).progress = level(state.outputPeak)
        findViewById<TextView>(R.id.figures).text = state.figures
        if (chosen != null || state.message.isNotEmpty()) message.text = state.message
    }

    /** The list as it is now; a chosen one that was unplugged gives way to the system's choice. */
    private fun showMicrophones() {
        val found = microphones()
        val at = found.indexOfFirst { it.first.id == LiveService.microphone }
        val names = listOf(getString(R.string.microphone_system)) + found.map { it.second }
        microphone.show(names, at + 1) { index ->
            val picked = found.getOrNull(index - 1)?.first
            LiveService.microphone = picked?.id
            val warning = picked?.let { narrowWarning(it, null) } ?: ""
            findViewById<TextView>(R.id.microphone_warning).apply {
                text = warning
                visible(warning.isNotEmpty())
            }
        }
    }

    private fun showStrength() {
        val limit = LiveService.attenLimit
        val shown = if (limit == null) text(R.string.live_strength_full) else text(R.string.live_strength_limited, limit.toInt())
        findViewById<TextView>(R.id.strength_value).text = shown
    }

    /** 0 to 1000 for -60 to 0 dBFS. */
    private fun level(peak: Float): Int = (1000 + 1000 / 60f * 20 * log10(max(peak, 1e-3f))).toInt()

    private companion object {
        const val PERMISSION = 1
        const val SETTINGS = 2
        const val FULL_STRENGTH = 41 // dB and above: no limit
    }
}
