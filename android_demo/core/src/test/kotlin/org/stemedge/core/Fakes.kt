package org.stemedge.core

import org.json.JSONArray
import org.json.JSONObject
import java.nio.FloatBuffer
import java.security.MessageDigest
import java.util.Random

/** A graph in Kotlin, for tests of what is around it: `body(inputs, outputs)` on arrays. */
class FakeGraph(manifest: Manifest, private val body: (List<FloatArray>, List<FloatArray>) -> Unit) : Graph {
    private val into = manifest.inputs.map { FloatArray(it.size) }
    private val out = manifest.outputs.map { FloatArray(it.size) }
    override val inputs: List<FloatBuffer> = into.map { FloatBuffer.wrap(it) }
    override val outputs: List<FloatBuffer> = out.map { FloatBuffer.wrap(it) }
    var runs = 0

    override fun run() {
        runs++
        body(into, out)
    }

    override fun close() = Unit
}

/** Gives its input back, `delay` samples late: the state holds them. */
fun delayingGraph(m: Manifest) = FakeGraph(m) { inputs, outputs ->
    val line = inputs[1] + inputs[0]
    System.arraycopy(line, 0, outputs[0], 0, m.hop)
    System.arraycopy(line, m.hop, outputs[1], 0, m.delay)
}

/** Source s is (s + 1) times the mix. */
fun scalingGraph(m: Manifest) = FakeGraph(m) { inputs, outputs ->
    val size = m.channels * m.segment
    for (i in outputs[0].indices) outputs[0][i] = (i / size + 1) * inputs[0][i % size]
}

fun enhancer(hop: Int = 32, delay: Int = 32): Manifest = Manifest.parse(enhancerJson(hop, delay).toString())

fun separator(segment: Int = 100, hop: Int = 75): Manifest = Manifest.parse(separatorJson(segment, hop).toString())

fun enhancerJson(hop: Int = 32, delay: Int = 32): JSONObject {
    fun tensors(audio: String, state: String) =
        JSONArray(listOf(tensor(audio, 1, hop), tensor(state, 1, delay)))
    return commonJson("enhance", listOf("speech"), 16000, 1, hop, listOf(hop), listOf(hop))
        .put("delay", delay)
        .put("segment", JSONObject.NULL)
        .put("states", JSONArray(listOf(tensor("line", 1, delay))))
        .put("inputs", tensors("audio", "line"))
        .put("outputs", tensors("enhanced", "next_line"))
}

fun separatorJson(segment: Int = 100, hop: Int = 75): JSONObject =
    commonJson("separate", listOf("drums", "vocals"), 44100, 2, hop, listOf(2, 10), listOf(2, 2, segment))
        .put("segment", segment)
        .put("inputs", JSONArray(listOf(tensor("mix", 1, 2, segment))))
        .put("outputs", JSONArray(listOf(tensor("stems", 1, 2, 2, segment))))

/** The files of the fake bundles, by their name in the manifest. */
fun contents(json: JSONObject): Map<String, ByteArray> {
    val files = json.getJSONObject("files")
    return files.keys().asSequence().map { it.toString() }.associateWith { ByteArray(files.getJSONObject(it).getInt("bytes")) }
}

private fun commonJson(
    task: String,
    sources: List<String>,
    rate: Int,
    channels: Int,
    hop: Int,
    golden: List<Int>,
    expected: List<Int>,
): JSONObject {
    fun raw(file: String, shape: List<Int>) = JSONObject().put("file", file).put("shape", JSONArray(shape))
    fun bytes(shape: List<Int>) = shape.fold(4, Int::times)
    val sizes = mapOf("model.onnx" to 1000, "golden/input.f32" to bytes(golden), "golden/onnx.f32" to bytes(expected))
    return JSONObject()
        .put("format_version", "1.0").put("name", "fake").put("task", task).put("sources", JSONArray(sources))
        .put("sample_rate", rate).put("channels", channels).put("hop", hop).put("latency_samples", 2 * hop)
        .put("precision", "fp32").put("weights_license", "MIT").put("training_data", "none")
        .put("graphs", JSONObject().put("onnx", JSONObject().put("file", "model.onnx").put("bytes", 1000).put("weight_bytes", 900)))
        .put("compression", JSONObject().put("prune_ratio", 0.5).put("macs_per_second", JSONObject().put("before", 4.0).put("after", 1.5)))
        .put(
            "golden",
            JSONObject().put("input", raw("golden/input.f32", golden)).put("stride", 1)
                .put("outputs", JSONObject().put("onnx", raw("golden/onnx.f32", expected).put("min_snr_db", 40.0))),
        )
        .put("files", JSONObject(sizes.mapValues { (_, size) -> JSONObject().put("bytes", size).put("sha256", sha256(ByteArray(size))) }))
}

fun tensor(name: String, vararg shape: Int): JSONObject =
    JSONObject().put("name", name).put("shape", JSONArray(shape.toList())).put("dtype", "float32")

fun sha256(content: ByteArray): String =
    MessageDigest.getInstance("SHA-256").digest(content).joinToString("") { "%02x".format(it) }

/** Collects what a sink gets. */
class Collector(channels: Int) : AudioSink {
    private val parts = List(channels) { ArrayList<FloatArray>() }

    override fun write(audio: Array<FloatArray>, count: Int) {
        for (c in parts.indices) parts[c] += audio[c].copyOf(count)
    }

    fun audio(): Array<FloatArray> = Array(parts.size) { c ->
        FloatArray(parts[c].sumOf { it.size }).also { all ->
            var at = 0
            for (part in parts[c]) {
                part.copyInto(all, at)
                at += part.size
            }
        }
    }
}

fun noise(channels: Int, frames: Int, seed: Long = 1, level: Float = 0.3f): Array<FloatArray> {
    val random = Random(seed)
    return Array(channels) { FloatArray(frames) { level * random.nextGaussian().toFloat() } }
}

/** Feed `audio` in chunks of random sizes from 0 to `most`. */
fun feed(audio: Array<FloatArray>, most: Int, seed: Long, process: (Array<FloatArray>, Int) -> Unit) {
    val random = Random(seed)
    var at = 0
    while (at < audio[0].size) {
        val count = minOf(random.nextInt(most + 1), audio[0].size - at)
        process(Array(audio.size) { audio[it].copyOfRange(at, at + count) }, count)
        at += count
    }
}

/** The message of the [EdgeException] that `action` throws; fails on anything else. */
fun messageOf(action: () -> Unit): String {
    try {
        action()
    } catch (error: EdgeException) {
        check('\n' !in error.message) { "more than one line: ${error.message}" }
        return error.message
    }
    throw AssertionError("nothing was refused")
}
