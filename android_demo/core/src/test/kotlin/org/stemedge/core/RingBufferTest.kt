package org.stemedge.core

import org.junit.Assert.assertEquals
import org.junit.Test
import java.util.Random
import kotlin.concurrent.thread

class RingBufferTest {
    @Test
    fun twoThreadsPassEverySampleOnInOrder() {
        val total = 1 shl 20
        val ring = RingBuffer(1009)
        val writer = thread {
            val random = Random(1)
            var next = 0
            val chunk = FloatArray(700)
            while (next < total) {
                val count = minOf(random.nextInt(700), total - next)
                for (i in 0 until count) chunk[i] = ((next + i) and 0xffff).toFloat()
                var done = 0
                while (done < count) done += ring.write(chunk, count - done, done)
                next += count
            }
        }
        val random = Random(2)
        val chunk = FloatArray(900)
        var next = 0
        while (next < total) {
            val count = ring.read(chunk, random.nextInt(900))
            for (i in 0 until count) assertEquals(((next + i) and 0xffff).toFloat(), chunk[i], 0f)
            next += count
        }
        writer.join()
        assertEquals(0, ring.available)
    }

    @Test
    fun aFullBufferTakesNoMore() {
        val ring = RingBuffer(4)
        assertEquals(3, ring.write(FloatArray(3), 3))
        assertEquals(1, ring.write(FloatArray(3), 3))
        assertEquals(0, ring.free)
        ring.clear()
        assertEquals(4, ring.free)
        assertEquals(0, ring.read(FloatArray(3), 3))
    }
}
