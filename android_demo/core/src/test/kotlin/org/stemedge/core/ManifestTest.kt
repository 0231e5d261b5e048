package org.stemedge.core

import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import java.util.Random

class ManifestTest {
    @Test
    fun readsBothTasks() {
        val enhancer = enhancer(hop = 32, delay = 16)
        assertEquals(Task.ENHANCE, enhancer.task)
        assertEquals(listOf("audio", "line"), enhancer.inputs.map { it.name })
        assertEquals(0.002, enhancer.hopSeconds, 1e-9)
        val separator = separator()
        assertEquals(listOf("drums", "vocals"), separator.sources)
        assertEquals(2 * 2 * 100, separator.outputs[0].size)
    }

    @Test
    fun anotherMajorVersionIsRefusedWithBothVersionsNamed() {
        val message = refused { put("format_version", "2.0") }
        assertTrue(message, "2.0" in message && "1.0" in message && "update the app" in message)
        assertTrue("no valid format_version" in refused { put("format_version", "one") })
        assertTrue("no valid format_version" in refused { remove("format_version") })
        Manifest.parse(separatorJson().put("format_version", "1.7").put("new_key", 3).toString()) // is read
    }

    @Test
    fun everyMissingKeyIsNamed() {
        val optional = setOf("segment", "delay", "states", "training_data")
        for (key in separatorJson().keys().asSequence().map { it.toString() }.filter { it !in optional }) {
            assertTrue(key, key in refused { remove(key) })
        }
    }

    @Test
    fun contradictionsAreNamed() {
        assertTrue("hop" in refused { put("hop", 101) })
        assertTrue("task" in refused { put("task", "sing") })
        assertTrue("sample_rate" in refused { put("sample_rate", "44100") })
        assertTrue("channels" in refused { put("channels", 1.5) })
        assertTrue("inputs" in refused { put("inputs", JSONArray(listOf(tensor("mix", 1, 2, 99)))) })
        assertTrue("outputs" in refused { put("outputs", JSONArray(listOf(tensor("stems", 1, 1, 2, 100)))) })
        assertTrue("float16" in refused { getJSONArray("inputs").getJSONObject(0).put("dtype", "float16") })
        assertTrue("../drums" in refused { put("sources", JSONArray(listOf("../drums", "vocals"))) })
        assertTrue("unknown graph format" in refused { getJSONObject("graphs").put("tflite", graph("model.onnx")) })
        assertTrue("unsafe" in refused { getJSONObject("graphs").put("onnx", graph("../model.onnx")) })
        assertTrue("unsafe" in refused { getJSONObject("files").put("/etc/x", record()) })
        assertTrue("not listed" in refused { getJSONObject("graphs").put("onnx", graph("other.onnx")) })
        assertTrue("SHA-256" in refused { getJSONObject("files").put("model.onnx", record().put("sha256", "abc")) })
    }

    @Test
    fun whatIsNotJsonIsRefused() {
        val text = separatorJson().toString()
        for (bad in listOf("", "[]", "{", "null", text.dropLast(1), "$text{}", "[".repeat(100_000), "\u0000", "NaN")) {
            assertTrue("manifest.json" in messageOf { Manifest.parse(bad) })
        }
    }

    /** Whatever one changed character does, it is either harmless or refused with a sentence. */
    @Test
    fun damagedTextNeverCrashes() {
        val text = separatorJson().toString()
        val random = Random(7)
        repeat(2000) {
            val damaged = StringBuilder(text)
            damaged.setCharAt(random.nextInt(text.length), "{}[]\",:0-9eE.x\u00e9\u0001".random(kotlin.random.Random(it)))
            try {
                Manifest.parse(damaged.toString())
            } catch (error: EdgeException) {
                assertTrue(error.message, error.message.isNotBlank())
            }
        }
    }

    private fun refused(change: JSONObject.() -> Unit): String =
        messageOf { Manifest.parse(separatorJson().apply(change).toString()) }

    private fun graph(file: String) = JSONObject().put("file", file).put("bytes", 1000).put("weight_bytes", 900)

    private fun record() = JSONObject().put("bytes", 1000).put("sha256", "0".repeat(64))
}
