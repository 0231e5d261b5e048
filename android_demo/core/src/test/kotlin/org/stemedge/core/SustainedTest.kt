package org.stemedge.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test

class SustainedTest {
    private fun minutes(vararg rtf: Double) = rtf.map { Minute(it, it / 100, 6000, 0, "none") }

    @Test
    fun aDeviceThrottlesWhereTheLastMinuteIsSlowerThanTheFirst() {
        assertTrue(throttles(minutes(0.1, 0.11, 0.16)))
        assertEquals(1.6, slowdown(minutes(0.1, 0.11, 0.16)), 1e-9)
        assertFalse(throttles(minutes(0.1, 0.2, 0.105))) // something else ran in between
        assertFalse(throttles(minutes(0.12, 0.1)))
        assertFalse(throttles(minutes(0.1)))
    }

    @Test
    fun itsFiguresGoIntoTheReport() {
        val found = json(listOf(Minute(0.2, 0.003, 100, 2, "none"), Minute(0.3, 0.005, 80, 9, null)))
        val second = found.getJSONArray("minutes").getJSONObject(1)
        assertEquals(0.3, second.getDouble("rtf"), 0.0)
        assertEquals(0.005, second.getDouble("p95"), 0.0)
        assertEquals(80, second.getInt("hops"))
        assertEquals(9, second.getInt("deadline_misses"))
        assertTrue(second.isNull("thermal_status"))
        assertEquals("none", found.getJSONArray("minutes").getJSONObject(0).getString("thermal_status"))
        assertEquals(1.5, found.getDouble("slowdown"), 1e-9)
        assertTrue(found.getBoolean("throttles"))
    }
}
