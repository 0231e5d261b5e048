package org.stemedge.ort

import org.junit.Assert.assertEquals
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.stemedge.core.Bundle
import org.stemedge.core.EnhancerStream
import org.stemedge.core.Task
import org.stemedge.core.WavEncoding
import org.stemedge.core.WavReader
import org.stemedge.core.WavWriter
import org.stemedge.core.checkGolden
import java.io.File

/** The lines of the README, as they stand there. */
class ReadmeTest {
    @get:Rule
    val folder = TemporaryFolder()

    @Test
    fun tenLinesEnhanceARecording() {
        val filesDir = folder.root
        val shipped = shippedBundles().first { Bundle.open(it).manifest.task == Task.ENHANCE }
        shipped.copyRecursively(File(filesDir, "enhancer"))
        val samples = FloatArray(5000) { 0.01f * (it % 100) }

        val bundle = Bundle.open(File(filesDir, "enhancer")).require(Task.ENHANCE)
        OrtEngine().load(bundle, threads = 1).use { graph ->
            checkGolden(bundle, "onnx", graph)
            val out = WavWriter(File(filesDir, "clean.wav"), bundle.manifest.sampleRate, 1, WavEncoding.PCM16)
            val stream = EnhancerStream(bundle.manifest, graph, 1, out)
            stream.process(arrayOf(samples), samples.size)
            stream.flush()
            out.close()
        }

        WavReader(File(filesDir, "clean.wav")).use { assertEquals(5000L, it.frames) }
    }
}
