package org.stemedge.ort

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.stemedge.core.AudioOpener
import org.stemedge.core.Bundle
import org.stemedge.core.Graph
import org.stemedge.core.Separator
import org.stemedge.core.ShapedEnhancer
import org.stemedge.core.Shaping
import org.stemedge.core.Statistics
import org.stemedge.core.Task
import org.stemedge.core.WavEncoding
import org.stemedge.core.WavReader
import org.stemedge.core.enhanceRecording
import org.stemedge.core.separateRecording
import org.stemedge.core.snrDb
import java.io.File

/** The same samples as edge-run on the same audio (the outputs of check/reference.py). */
class ParityTest {
    @get:Rule
    val folder = TemporaryFolder()

    @Test
    fun streamsAndFilesEqualThoseOfEdgeRun() {
        val references = System.getProperty("edge.reference").orEmpty().split(File.pathSeparator).map(::File)
        org.junit.Assume.assumeTrue("no references: run check/reference.py", references.all { it.isDirectory })
        var compared = 0
        for (reference in references) {
            for (line in File(reference, "cases.txt").readLines()) {
                val (name, case, limit, band, strength) = line.split(' ')
                val shaping = Shaping(band == "full", strength.toDoubleOrNull())
                val bundle = Bundle.open(File(folderOf("edge.bundles"), name))
                OrtEngine().load(bundle, 1).use { graph ->
                    compare(bundle, graph, File(reference, "$name-$case"), limit.toDouble(), shaping)
                }
                compared++
            }
        }
        assertTrue(compared > 0)
    }

    private fun compare(bundle: Bundle, graph: Graph, place: File, limit: Double, shaping: Shaping) {
        val manifest = bundle.manifest
        val input = File(place, "input.wav")
        val expected = if (manifest.task == Task.ENHANCE) {
            listOf(readWav(File(place, "output.wav")))
        } else {
            manifest.sources.map { readWav(File(place, "stems/$it.wav")) }
        }
        val enhances = manifest.task == Task.ENHANCE
        val results = LinkedHashMap<String, Double>()
        val (rate, audio) = WavReader(input).use { it.sampleRate } to readWav(input)
        if (enhances || rate == manifest.sampleRate) {
            for (sizes in if (enhances) CHUNKS else CHUNKS.take(1)) {
                val got = if (enhances) {
                    enhance(bundle, graph, rate, shaping, audio, sizes)
                } else {
                    separate(bundle, graph, audio, sizes)
                }
                results["chunks of ${sizes.joinToString("/")}"] = snr(expected.flatMap { it.asList() }, got.asList())
            }
        }
        results["as a file"] = snr(expected.flatMap { it.asList() }, file(bundle, graph, input, shaping))
        for ((how, snr) in results) {
            val text = "${place.parentFile.name}/${place.name}, $how: %.1f dB".format(snr)
            assertTrue("$text, at least $limit dB wanted", snr >= limit)
        }
        val least = results.values.min()
        note(
            "${place.name}: %.1f dB against edge-run (${place.parentFile.name}), %.0f wanted, ${results.size} ways"
                .format(least, limit),
        )
    }

    private fun enhance(
        bundle: Bundle,
        graph: Graph,
        rate: Int,
        shaping: Shaping,
        audio: Array<FloatArray>,
        sizes: List<Int>,
    ): Array<FloatArray> {
        val out = Recorder(audio.size, audio[0].size)
        val enhancer = ShapedEnhancer(bundle.manifest, graph, rate, audio.size, shaping, out)
        feed(audio, sizes, enhancer::process)
        enhancer.flush()
        assertEquals(audio[0].size, out.filled)
        return out.audio
    }

    private fun separate(bundle: Bundle, graph: Graph, audio: Array<FloatArray>, sizes: List<Int>): Array<FloatArray> {
        val out = Recorder(bundle.manifest.sources.size * audio.size, audio[0].size)
        val statistics = Statistics()
        feed(audio, sizes, statistics::write)
        val separator = Separator(bundle.manifest, graph, statistics.mean, statistics.std, out)
        feed(audio, sizes, separator::process)
        separator.flush()
        assertEquals(audio[0].size, out.filled)
        return out.audio
    }

    private fun file(bundle: Bundle, graph: Graph, input: File, shaping: Shaping): List<FloatArray> {
        val opener = AudioOpener { WavReader(input) }
        if (bundle.manifest.task == Task.ENHANCE) {
            val target = File(folder.newFolder(), "enhanced.wav")
            enhanceRecording(bundle, graph, opener, target, WavEncoding.FLOAT32, shaping)
            return readWav(target).asList()
        }
        val stems = separateRecording(bundle, graph, opener, File(folder.newFolder(), "stems"), WavEncoding.FLOAT32)
        return stems.flatMap { readWav(it).asList() }
    }

    /** Over all samples of all channels and sources. */
    private fun snr(expected: List<FloatArray>, got: List<FloatArray>): Double {
        assertEquals(expected.map { it.size }, got.map { it.size })
        fun joined(parts: List<FloatArray>) = FloatArray(parts.sumOf { it.size }).also { all ->
            var at = 0
            for (part in parts) {
                part.copyInto(all, at)
                at += part.size
            }
        }
        return snrDb(joined(expected), joined(got))
    }

    private companion object {
        val CHUNKS = listOf(listOf(1, 777, 191), listOf(48001))
    }
}
