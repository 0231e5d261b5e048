package org.stemedge.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

class MicrophoneTest {
    private fun microphone(kind: MicrophoneKind, vararg rates: Int) = Microphone(1, kind, "any", rates.toList())

    @Test
    fun inputsThatAreNoMicrophonesAreLeftOut() {
        assertEquals(MicrophoneKind.BUILT_IN, MicrophoneKind.of(15))
        assertEquals(MicrophoneKind.BLUETOOTH_CALL, MicrophoneKind.of(7))
        assertEquals(MicrophoneKind.USB, MicrophoneKind.of(22))
        // unknown, telephony, remote submix, FM and TV tuner, the echo's reference
        for (type in listOf(0, 16, 17, 18, 25, 28, 1000)) assertNull(MicrophoneKind.of(type))
        assertTrue(MicrophoneKind.BLUETOOTH_LE.needsCall)
        assertFalse(MicrophoneKind.USB.needsCall)
    }

    @Test
    fun aHeadsetOnTelephonysLinkIsWarnedOf() {
        val headset = microphone(MicrophoneKind.BLUETOOTH_CALL, 8000, 16000)
        assertEquals(16000, narrowRate(headset, null)) // at best
        assertEquals(8000, narrowRate(headset, 8000)) // as it turned out
        assertEquals(8000, narrowRate(microphone(MicrophoneKind.BLUETOOTH_CALL, 8000), null))
        assertEquals(16000, narrowRate(microphone(MicrophoneKind.BLUETOOTH_CALL), null)) // it tells none
        assertEquals(16000, narrowRate(microphone(MicrophoneKind.BLUETOOTH_CALL, 48000), null)) // the system's, not the link's
        assertNull(narrowRate(headset, 32000)) // a headset with super wideband
    }

    @Test
    fun othersAreWarnedOfOnlyWhereTheyAreNarrow() {
        assertNull(narrowRate(microphone(MicrophoneKind.BUILT_IN), null))
        assertNull(narrowRate(microphone(MicrophoneKind.BUILT_IN, 8000, 48000), null))
        assertNull(narrowRate(microphone(MicrophoneKind.BUILT_IN), 48000))
        assertEquals(16000, narrowRate(microphone(MicrophoneKind.USB, 8000, 16000), null))
        assertEquals(8000, narrowRate(microphone(MicrophoneKind.WIRED), 8000))
        assertEquals(16000, narrowRate(microphone(MicrophoneKind.BLUETOOTH_LE, 48000), 16000))
    }

    @Test
    fun labelsThatAreAlikeAreNumbered() {
        assertEquals(listOf("USB 1", "Phone", "USB 2"), distinct(listOf("USB", "Phone", "USB")))
        assertEquals(emptyList<String>(), distinct(emptyList()))
    }
}
