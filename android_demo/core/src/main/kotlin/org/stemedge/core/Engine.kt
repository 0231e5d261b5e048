package org.stemedge.core

import java.nio.Buffer
import java.nio.FloatBuffer
import java.util.ServiceLoader

/**
 * A loaded graph. Fill [inputs], call [run], read [outputs]: direct buffers in the manifest's order, allocated once
 * and never moved, so that a run allocates nothing. One thread at a time.
 */
interface Graph : AutoCloseable {
    val inputs: List<FloatBuffer>
    val outputs: List<FloatBuffer>

    /** Throws [EdgeException] where the runtime fails. */
    fun run()

    override fun close()
}

/** A runtime for one format of graphs; found on the class path by [Engines]. */
interface Engine {
    /** "onnx" or "executorch", as in the manifest. */
    val format: String

    /** Name and version of the runtime, for reports. */
    val version: Pair<String, String>

    /**
     * Load the bundle's graph with [threads] threads. Throws [EdgeException] where it does not load or is not the
     * graph that the manifest describes.
     */
    fun load(bundle: Bundle, threads: Int): Graph
}

/** The engines that the app was built with. */
object Engines {
    val all: List<Engine> by lazy {
        ServiceLoader.load(Engine::class.java, Engine::class.java.classLoader).sortedBy {
            Manifest.FORMATS.indexOf(it.format)
        }
    }

    /** The first engine that has a graph in [bundle]. */
    fun of(bundle: Bundle): Engine = all.find { it.format in bundle.manifest.graphs }
        ?: throw EdgeException(
            "${bundle.name} has graphs for ${bundle.manifest.graphs.keys.joinToString()}, " +
                "this app runs ${all.joinToString { it.format }}; export it again",
        )
}

// Through java.nio.Buffer: the overrides of the subclasses return other types in JDK 9 and are not in Android 8.
internal fun rewind(buffer: Buffer) {
    buffer.rewind()
}

/** Write all of [from] to the start of this buffer. */
fun FloatBuffer.write(from: FloatArray) {
    rewind(this)
    put(from)
}

/** Read the buffer's start into all of [into]. */
fun FloatBuffer.read(into: FloatArray) {
    rewind(this)
    get(into)
}
