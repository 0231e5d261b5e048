package org.stemedge.demo

import android.content.Context
import android.media.AudioDeviceInfo
import android.media.AudioManager
import android.media.AudioRecord
import android.os.Build
import org.stemedge.core.Microphone
import org.stemedge.core.MicrophoneKind
import org.stemedge.core.distinct
import org.stemedge.core.narrowRate

val Context.audioManager: AudioManager get() = getSystemService(AudioManager::class.java)

/** The microphones that are there now, with the name to show of each. */
fun Context.microphones(): List<Pair<Microphone, String>> {
    val found = audioManager.getDevices(AudioManager.GET_DEVICES_INPUTS).mapNotNull { it.asMicrophone()?.to(label(it)) }
    return found.map { it.first }.zip(distinct(found.map { it.second }))
}

/** The device of that number, null where it is gone. */
fun Context.inputDevice(id: Int): AudioDeviceInfo? =
    audioManager.getDevices(AudioManager.GET_DEVICES_INPUTS).find { it.id == id }

/** Null: an input that is no microphone. */
fun AudioDeviceInfo.asMicrophone(): Microphone? = MicrophoneKind.of(type)?.let {
    Microphone(id, it, "$productName", sampleRates.toList())
}

/** The device by its connection, for a phone's own microphone with its place, for others with their name. */
fun Context.label(device: AudioDeviceInfo): String {
    val kind = getString(
        when (MicrophoneKind.of(device.type)) {
            MicrophoneKind.BUILT_IN -> R.string.microphone_built_in
            MicrophoneKind.WIRED -> R.string.microphone_wired
            MicrophoneKind.USB -> R.string.microphone_usb
            MicrophoneKind.BLUETOOTH_CALL, MicrophoneKind.BLUETOOTH_LE -> R.string.microphone_bluetooth
            null -> R.string.microphone_other
        },
    )
    val own = when {
        MicrophoneKind.of(device.type) != MicrophoneKind.BUILT_IN -> "${device.productName}"
        Build.VERSION.SDK_INT >= Build.VERSION_CODES.P -> device.address // "bottom", "back"
        else -> ""
    }
    return if (own.isBlank()) kind else text(R.string.microphone_named, kind, own)
}

/** What to say of a microphone that hears less than speech has; empty where all is well. `running`: as [narrowRate]. */
fun Context.narrowWarning(microphone: Microphone, running: Int?): String {
    val rate = narrowRate(microphone, running) ?: return ""
    val why = if (microphone.kind == MicrophoneKind.BLUETOOTH_CALL) R.string.microphone_call_link else R.string.microphone_narrow
    return text(why, rate / 1000, rate / 2000)
}

/** The microphone that a recording hears, with its own rate in Hz where the system tells: it may be another than asked. */
fun Context.heardBy(record: AudioRecord): Pair<AudioDeviceInfo, Int?>? {
    val device = record.routedDevice ?: return null
    val running = audioManager.activeRecordingConfigurations.find { it.clientAudioSessionId == record.audioSessionId }
    return device to running?.format?.sampleRate
}

/** Asks the system for the link over which a Bluetooth headset's microphone is heard, until it is closed. */
class CallLink(private val context: Context, device: AudioDeviceInfo) : AutoCloseable {
    init {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) {
            val ends = context.audioManager.availableCommunicationDevices
            // the same headset has one number as a microphone and another as a loudspeaker
            (ends.find { it.type == device.type && it.address == device.address } ?: ends.find { it.type == device.type })
                ?.let(context.audioManager::setCommunicationDevice)
        } else {
            @Suppress("DEPRECATION") // its successor is of Android 12
            context.audioManager.startBluetoothSco()
        }
    }

    override fun close() {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) {
            context.audioManager.clearCommunicationDevice()
        } else {
            @Suppress("DEPRECATION") // as above
            context.audioManager.stopBluetoothSco()
        }
    }
}
