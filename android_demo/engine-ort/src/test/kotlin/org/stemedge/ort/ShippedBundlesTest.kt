package org.stemedge.ort

import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.stemedge.core.Bundle
import org.stemedge.core.Engines
import org.stemedge.core.checkGolden
import java.io.File
import java.security.MessageDigest

/** Real bundles on real ONNX Runtime: whole ones pass their golden check, broken ones are told in a sentence. */
class ShippedBundlesTest {
    @get:Rule
    val folder = TemporaryFolder()

    @Test
    fun everyBundlePassesItsGoldenCheck() {
        for (path in shippedBundles()) {
            val bundle = Bundle.open(path)
            assertEquals("onnx", Engines.of(bundle).format)
            Engines.of(bundle).load(bundle, 2).use { graph ->
                note("golden check of ${path.name}: %.1f dB".format(checkGolden(bundle, "onnx", graph)))
            }
        }
    }

    @Test
    fun aCorruptModelIsRefusedBeforeItIsLoaded() {
        for (path in shippedBundles()) {
            val copy = copy(path)
            val model = File(copy, "model.onnx")
            val content = model.readBytes().also { it[it.size / 2] = (it[it.size / 2] + 1).toByte() }
            model.writeBytes(content)
            assertTrue("model.onnx is damaged" in messageOf { Bundle.open(copy) })
            model.writeBytes(content.copyOf(content.size / 2))
            assertTrue("model.onnx has not the" in messageOf { Bundle.open(copy) })
        }
    }

    @Test
    fun aModelFileThatIsNoModelIsRefused() {
        val copy = copy(shippedBundles()[0])
        replace(copy, "model.onnx", ByteArray(5000) { 7 })
        val bundle = Bundle.open(copy)
        assertTrue("model.onnx does not load" in messageOf { OrtEngine().load(bundle, 1) })
    }

    @Test
    fun theModelOfAnotherBundleIsRefused() {
        val (enhancer, separator) = enhancerAndSeparator()
        for ((from, to) in listOf(enhancer to separator, separator to enhancer)) {
            val copy = copy(to)
            replace(copy, "model.onnx", File(from, "model.onnx").readBytes())
            val bundle = Bundle.open(copy)
            val message = messageOf { OrtEngine().load(bundle, 1) }
            assertTrue(message, "is not the model that the manifest describes" in message)
        }
    }

    @Test
    fun aModelThatGivesOtherSamplesFailsItsGoldenCheck() {
        for (path in enhancerAndSeparator().toList()) {
            val copy = copy(path)
            val golden = File(copy, "golden/onnx.f32").readBytes()
            for (i in 3 until golden.size step 8) golden[i] = (golden[i].toInt() xor 0x80).toByte() // every other sign
            replace(copy, "golden/onnx.f32", golden)
            val bundle = Bundle.open(copy)
            OrtEngine().load(bundle, 1).use { graph ->
                val message = messageOf { checkGolden(bundle, "onnx", graph) }
                assertTrue(message, "golden check of onnx failed" in message)
            }
        }
    }

    @Test
    fun aBundleWithoutAGraphForThisAppIsRefused() {
        val copy = copy(shippedBundles()[0])
        edit(copy) { json ->
            json.getJSONObject("graphs").remove("onnx")
            json.getJSONObject("golden").getJSONObject("outputs").remove("onnx")
        }
        val bundle = Bundle.open(copy)
        val message = messageOf { Engines.of(bundle) }
        assertTrue(message, "has graphs for executorch" in message && "this app runs onnx" in message)
        assertTrue("no onnx graph" in messageOf { OrtEngine().load(bundle, 1) })
    }

    @Test
    fun anotherFormatVersionIsRefused() {
        val copy = copy(shippedBundles()[0])
        edit(copy) { it.put("format_version", "2.0") }
        assertTrue("2.0 is not supported" in messageOf { Bundle.open(copy) })
    }

    private fun enhancerAndSeparator(): Pair<File, File> {
        fun first(task: String) = shippedBundles().first { JSONObject(File(it, "manifest.json").readText()).get("task") == task }
        return first("enhance") to first("separate")
    }

    private fun copy(bundle: File): File = folder.newFolder().also { bundle.copyRecursively(it, overwrite = true) }

    /** Replace a file and sign it: size and checksum in the manifest fit. */
    private fun replace(bundle: File, name: String, content: ByteArray) {
        File(bundle, name).writeBytes(content)
        val digest = MessageDigest.getInstance("SHA-256").digest(content).joinToString("") { "%02x".format(it) }
        edit(bundle) { json ->
            json.getJSONObject("files").put(name, JSONObject().put("bytes", content.size).put("sha256", digest))
        }
    }

    private fun edit(bundle: File, change: (JSONObject) -> Unit) {
        val file = File(bundle, "manifest.json")
        file.writeText(JSONObject(file.readText()).also(change).toString())
    }
}
