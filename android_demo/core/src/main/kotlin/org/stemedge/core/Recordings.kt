package org.stemedge.core

import java.io.File
import kotlin.math.max
import kotlin.math.min

/** Told how much is done, 0 to 1; throws [CancelledException] to stop the work. */
fun interface Progress {
    fun update(share: Double)
}

/** Work that was stopped on request; nothing is left behind. */
class CancelledException : Exception("cancelled")

/**
 * Separate a recording of any length, rate and channel count into `folder/SOURCE.wav`, at the recording's rate.
 *
 * Two passes over the audio: the statistics of the whole track, then the segments. Memory is flat in its length.
 * The folder appears when it is complete. Returns the files in the manifest's order. Throws [EdgeException].
 */
fun separateRecording(
    bundle: Bundle,
    graph: Graph,
    recording: AudioOpener,
    folder: File,
    encoding: WavEncoding = WavEncoding.PCM16,
    progress: Progress = Progress {},
): List<File> {
    val manifest = bundle.require(Task.SEPARATE).manifest
    val statistics = Statistics()
    recording.open().use { source ->
        val resampler = Resampler(source.sampleRate, manifest.sampleRate, manifest.channels, statistics)
        pump(source, manifest.channels, resampler::process) { progress.update(MEASURING * it) }
        resampler.flush()
    }
    val temporary = File(folder.parentFile, ".${folder.name}.tmp")
    temporary.deleteRecursively()
    if (!temporary.mkdirs()) throw EdgeException("${folder.name} cannot be created; free some storage and try again")
    try {
        recording.open().use { source ->
            StemWriters(manifest, source.sampleRate, temporary, encoding).use { writers ->
                val separator = Separator(manifest, graph, statistics.mean, statistics.std, writers)
                val resampler = Resampler(source.sampleRate, manifest.sampleRate, manifest.channels, separator::process)
                val frames = pump(source, manifest.channels, { block, count ->
                    writers.expected += count
                    resampler.process(block, count)
                }) { progress.update(MEASURING + (1 - MEASURING) * it) }
                if (frames == 0L) throw EdgeException("the recording holds no samples")
                resampler.flush()
                separator.flush()
                writers.finish()
            }
        }
        folder.deleteRecursively()
        if (!temporary.renameTo(folder)) throw EdgeException("${folder.name} cannot be created")
    } finally {
        temporary.deleteRecursively()
    }
    return manifest.sources.map { File(folder, "$it.wav") }
}

/**
 * Enhance a recording of any length, rate and channel count into `target`, a WAV file at the recording's rate.
 *
 * Memory is flat in its length; the file appears when it is complete. Throws [EdgeException].
 */
fun enhanceRecording(
    bundle: Bundle,
    graph: Graph,
    recording: AudioOpener,
    target: File,
    encoding: WavEncoding = WavEncoding.PCM16,
    shaping: Shaping = Shaping(),
    progress: Progress = Progress {},
) {
    val manifest = bundle.require(Task.ENHANCE).manifest
    val temporary = File(target.parentFile, ".${target.name}.tmp")
    try {
        recording.open().use { source ->
            val (rate, channels) = source.sampleRate to source.channels
            WavWriter(temporary, rate, channels, encoding).use { writer ->
                val enhancer = ShapedEnhancer(manifest, graph, rate, channels, shaping, writer)
                val frames = pump(source, channels, enhancer::process, progress)
                if (frames == 0L) throw EdgeException("the recording holds no samples")
                enhancer.flush()
            }
        }
        target.delete()
        if (!temporary.renameTo(target)) throw EdgeException("${target.name} cannot be created")
    } finally {
        temporary.delete()
    }
}

private const val MEASURING = 0.1 // the first pass's share of the progress

/** Read all of `source`, as `channels` channels, into `consume`; returns the number of frames. */
private fun pump(
    source: AudioSource,
    channels: Int,
    consume: (Array<FloatArray>, Int) -> Unit,
    progress: Progress,
): Long {
    if (source.channels in 2 until channels) {
        throw EdgeException("${source.channels} channels, the model needs $channels")
    }
    val block = planar(source.channels, BLOCK_FRAMES)
    // Mono is repeated, channels too many are dropped.
    val mapped = Array(channels) { block[min(it, source.channels - 1)] }
    var done = 0L
    while (true) {
        val count = source.read(block)
        if (count == 0) return done
        consume(mapped, count)
        done += count
        progress.update(if (source.frames > 0) min(1.0, done.toDouble() / source.frames) else 0.0)
    }
}

/** Resamples each stem back to the recording's rate and writes exactly as many frames as were read. */
private class StemWriters(m: Manifest, rate: Int, folder: File, encoding: WavEncoding) : AudioSink, AutoCloseable {
    private val channels = m.channels
    private val writers = ArrayList<WavWriter>()
    private val outputs: List<ExactLength>
    private val ups: List<Resampler>
    private val stems: List<Array<FloatArray>> = m.sources.map { Array(channels) { NOTHING } }
    var expected: Long
        get() = outputs[0].expected
        set(value) = outputs.forEach { it.expected = value }

    init {
        for (source in m.sources) writers += WavWriter(File(folder, "$source.wav"), rate, channels, encoding)
        outputs = writers.map(::ExactLength)
        ups = outputs.map { Resampler(m.sampleRate, rate, channels, it) }
    }

    override fun write(audio: Array<FloatArray>, count: Int) {
        for (s in ups.indices) {
            for (c in 0 until channels) stems[s][c] = audio[s * channels + c]
            ups[s].process(stems[s], count)
        }
    }

    fun finish() {
        ups.forEach { it.flush() }
        outputs.forEach { it.finish(channels) }
    }

    override fun close() = writers.forEach { it.close() }

    private companion object {
        val NOTHING = FloatArray(0)
    }
}

/** Resampling there and back may round by a few samples: cut or fill up the end. */
private class ExactLength(private val sink: AudioSink) : AudioSink {
    var expected = 0L
    private var written = 0L

    override fun write(audio: Array<FloatArray>, count: Int) {
        val kept = min(count.toLong(), max(0L, expected - written)).toInt()
        if (kept > 0) sink.write(audio, kept)
        written += kept
    }

    fun finish(channels: Int) {
        while (written < expected) {
            val count = min(BLOCK_FRAMES.toLong(), expected - written).toInt()
            sink.write(planar(channels, count), count)
            written += count
        }
    }
}
