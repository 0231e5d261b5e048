package org.stemedge.core

/** What a microphone is connected by; the numbers are those of Android's AudioDeviceInfo.TYPE_... */
enum class MicrophoneKind(private vararg val types: Int) {
    BUILT_IN(15),
    WIRED(3, 5, 6, 13, 19), // headset, lines in, dock
    USB(11, 12, 22),
    BLUETOOTH_CALL(7), // SCO: telephony's link, 8 or 16 kHz
    BLUETOOTH_LE(26),
    ;

    /** It works only while the system holds a link for calls, which the headset's loudspeakers then share. */
    val needsCall: Boolean get() = this == BLUETOOTH_CALL || this == BLUETOOTH_LE

    companion object {
        /** Null: an input that is no microphone, as telephony, a radio or the device's own sound. */
        fun of(type: Int): MicrophoneKind? = entries.find { type in it.types }
    }
}

/** A microphone as the system lists it; [name] is what it calls itself, [rates] in Hz are empty where it does not say. */
data class Microphone(val id: Int, val kind: MicrophoneKind, val name: String, val rates: List<Int> = emptyList())

/**
 * The rate in Hz to warn of: the microphone hears nothing above half of it, and that is less than speech has.
 *
 * [running] is the rate at which the system takes it, null before it does: then what its link allows. Null: all is well.
 */
fun narrowRate(microphone: Microphone, running: Int?): Int? {
    val expected = if (microphone.kind == MicrophoneKind.BLUETOOTH_CALL) {
        microphone.rates.filter { it <= WIDEBAND }.maxOrNull() ?: WIDEBAND
    } else {
        microphone.rates.maxOrNull()
    }
    return (running ?: expected)?.takeIf { it <= WIDEBAND }
}

/** `labels` with a number where several are alike, so that each can be chosen. */
fun distinct(labels: List<String>): List<String> {
    val seen = HashMap<String, Int>()
    return labels.map { label ->
        val count = seen.merge(label, 1, Int::plus)!!
        if (labels.count { it == label } > 1) "$label $count" else label
    }
}

private const val WIDEBAND = 16000
