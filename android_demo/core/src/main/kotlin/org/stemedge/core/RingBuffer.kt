package org.stemedge.core

import java.util.concurrent.atomic.AtomicLong
import kotlin.math.min

/** A first-in-first-out buffer of samples between one writing and one reading thread; it never blocks. */
class RingBuffer(capacity: Int) {
    private val data = FloatArray(capacity)
    private val written = AtomicLong()
    private val read = AtomicLong()

    /** Samples that can be read now. */
    val available: Int get() = (written.get() - read.get()).toInt()

    /** Samples that can be written now. */
    val free: Int get() = data.size - available

    /** Write up to `count` samples; returns how many had room. */
    fun write(from: FloatArray, count: Int, offset: Int = 0): Int {
        val start = written.get()
        val taken = min(count, data.size - (start - read.get()).toInt())
        val at = (start % data.size).toInt()
        val head = min(taken, data.size - at)
        System.arraycopy(from, offset, data, at, head)
        System.arraycopy(from, offset + head, data, 0, taken - head)
        written.set(start + taken) // publishes the samples to the reader
        return taken
    }

    /** Read up to `count` samples; returns how many there were. */
    fun read(into: FloatArray, count: Int, offset: Int = 0): Int {
        val start = read.get()
        val taken = min(count, (written.get() - start).toInt())
        val at = (start % data.size).toInt()
        val head = min(taken, data.size - at)
        System.arraycopy(data, at, into, offset, head)
        System.arraycopy(data, 0, into, offset + head, taken - head)
        read.set(start + taken) // gives the room back to the writer
        return taken
    }

    /** Drop everything; by the reading thread. */
    fun clear() = read.set(written.get())
}
