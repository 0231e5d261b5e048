package org.stemedge.core

/** What a model does. [id] is the manifest's word. */
enum class Task(val id: String) { ENHANCE("enhance"), SEPARATE("separate") }

/** One input, output or state of the graph; its shape is static. */
data class TensorSpec(val name: String, val shape: List<Int>, val dtype: String) {
    /** Number of values. */
    val size: Int get() = shape.fold(1, Int::times)
}

/** One graph file; [precision] is what it was made in, [weightBytes] are those of its learned weights. */
data class GraphRecord(val file: String, val precision: String, val bytes: Long, val weightBytes: Long)

/** A raw little-endian float32 file of the bundle. */
data class RawTensor(val file: String, val shape: List<Int>)

/** The short input with which a device checks itself, and per format the expected output and the SNR to reach. */
data class Golden(val input: RawTensor, val outputs: Map<String, GoldenOutput>, val stride: Int)

data class GoldenOutput(val tensor: RawTensor, val minSnrDb: Double)

/** Size and SHA-256 (hex) of one file of the bundle. */
data class FileRecord(val bytes: Long, val sha256: String)

/** What the demo reads of a bundle's manifest.json; the format is docs/bundle.md. Lengths are in samples. */
data class Manifest(
    val formatVersion: String,
    val name: String,
    val task: Task,
    val sources: List<String>,
    val sampleRate: Int,
    val channels: Int,
    val segment: Int,
    val hop: Int,
    val delay: Int,
    val latencySamples: Int,
    val states: List<TensorSpec>,
    val inputs: List<TensorSpec>,
    val outputs: List<TensorSpec>,
    val precision: String,
    val pruneRatio: Double,
    val macsPerSecond: Double,
    val attentionMacsPerSecond: Double,
    val graphs: Map<String, GraphRecord>,
    val golden: Golden,
    val files: Map<String, FileRecord>,
    val weightsLicense: String,
) {
    val hopSeconds: Double get() = hop.toDouble() / sampleRate

    companion object {
        const val FORMAT_VERSION = "1.0"
        val FORMATS = listOf("onnx", "executorch")

        /**
         * Read and check the text of a manifest. Throws [EdgeException] for malformed JSON, another major format
         * version (both versions named), missing keys, wrong types and values that contradict each other.
         */
        fun parse(text: String): Manifest {
            val json = Json.parse(text)
            checkVersion(if (json.has("format_version")) json.string("format_version") else "")
            return read(json).also(::check)
        }
    }
}

private fun checkVersion(version: String) {
    val major = Regex("""(\d{1,6})\.\d{1,6}""").matchEntire(version)?.groupValues?.get(1)
    if (major == null) {
        throw EdgeException("manifest.json has no valid format_version (this is ${Manifest.FORMAT_VERSION})")
    }
    if (major != Manifest.FORMAT_VERSION.substringBefore('.')) {
        throw EdgeException(
            "bundle format version $version is not supported, this app reads ${Manifest.FORMAT_VERSION}; " +
                "update the app or export the bundle again",
        )
    }
}

private fun read(json: Json): Manifest {
    val task = json.string("task")
    val compression = json.json("compression")
    val golden = json.json("golden")
    return Manifest(
        formatVersion = json.string("format_version"),
        name = json.string("name"),
        task = Task.entries.find { it.id == task } ?: malformed("task is '$task', not one of separate, enhance"),
        sources = json.strings("sources"),
        sampleRate = json.int("sample_rate"),
        channels = json.int("channels"),
        segment = json.intOrNull("segment") ?: 0,
        hop = json.int("hop"),
        delay = json.intOr("delay", 0),
        latencySamples = json.int("latency_samples"),
        states = if (json.has("states")) json.jsons("states").map(::tensor) else emptyList(),
        inputs = json.jsons("inputs").map(::tensor),
        outputs = json.jsons("outputs").map(::tensor),
        precision = json.string("precision"),
        pruneRatio = compression.double("prune_ratio"),
        macsPerSecond = compression.json("macs_per_second").double("after"),
        attentionMacsPerSecond =
            if (compression.has("attention_macs_per_second")) {
                compression.json("attention_macs_per_second").double("after")
            } else {
                0.0
            },
        graphs = json.map("graphs").mapValues { (_, graph) ->
            val precision = if (graph.has("precision")) graph.string("precision") else ""
            GraphRecord(
                graph.string("file"),
                precision.ifEmpty { json.string("precision") }, // of the bundle, which older ones tell alone
                graph.long("bytes"),
                graph.long("weight_bytes"),
            )
        },
        golden = Golden(
            raw(golden.json("input")),
            golden.map("outputs").mapValues { (_, output) -> GoldenOutput(raw(output), output.double("min_snr_db")) },
            golden.intOr("stride", 1),
        ),
        files = json.map("files").mapValues { (_, file) -> FileRecord(file.long("bytes"), file.string("sha256")) },
        weightsLicense = json.string("weights_license"),
    )
}

private fun tensor(json: Json) = TensorSpec(
    json.string("name"),
    json.ints("shape"),
    if (json.has("dtype")) json.string("dtype") else "float32",
)

private fun raw(json: Json) = RawTensor(json.string("file"), json.ints("shape"))

private fun check(m: Manifest) {
    for (precision in m.graphs.values.map(GraphRecord::precision) + m.precision) {
        need(Regex("[A-Za-z0-9][A-Za-z0-9._-]{0,31}").matches(precision)) {
            "precision '$precision' must be letters, digits, -, . and _"
        }
    }
    need(m.sampleRate > 0 && m.channels > 0 && m.hop > 0) { "sample_rate, channels and hop must be positive" }
    need(m.delay >= 0 && m.latencySamples >= 0) { "delay and latency_samples must not be negative" }
    need(m.sources.isNotEmpty() && m.sources.toSet().size == m.sources.size) { "sources is empty or repeats a name" }
    for (source in m.sources) { // each becomes a file name
        need(Regex("[A-Za-z0-9][A-Za-z0-9_-]{0,63}").matches(source)) {
            "source '$source' must be letters, digits, - and _"
        }
    }
    for (tensor in m.inputs + m.outputs + m.states) {
        need(tensor.dtype == "float32") { "tensor ${tensor.name} is ${tensor.dtype}, this app runs float32 only" }
        need(tensor.shape.all { it > 0 } && tensor.shape.fold(4L) { n, k -> n * k } in 0..Int.MAX_VALUE) {
            "tensor ${tensor.name} has a bad shape"
        }
    }
    checkGraph(m)
    need(m.graphs.isNotEmpty()) { "graphs is empty" }
    for (format in m.graphs.keys + m.golden.outputs.keys) {
        need(format in Manifest.FORMATS) { "unknown graph format '$format'" }
    }
    need(m.graphs.keys == m.golden.outputs.keys) { "golden.outputs must have one entry for each graph" }
    checkFiles(m)
}

/** The graph's tensors must be those of the task, in the order of docs/bundle.md. */
private fun checkGraph(m: Manifest) {
    val tensors: (List<TensorSpec>) -> List<Pair<String, List<Int>>> = { list -> list.map { it.name to it.shape } }
    if (m.task == Task.SEPARATE) {
        need(m.segment > 0 && m.hop <= m.segment) { "segment must be positive and not shorter than hop" }
        need(tensors(m.inputs) == listOf("mix" to listOf(1, m.channels, m.segment))) { "inputs do not fit the task" }
        need(tensors(m.outputs) == listOf("stems" to listOf(1, m.sources.size, m.channels, m.segment))) {
            "outputs do not fit the task"
        }
    } else {
        need(m.channels == 1) { "channels must be 1 (each channel of a recording is enhanced on its own)" }
        val states = tensors(m.states)
        need(tensors(m.inputs) == listOf("audio" to listOf(1, m.hop)) + states) { "inputs do not fit the task" }
        val next = states.map { (name, shape) -> "next_$name" to shape }
        need(tensors(m.outputs) == listOf("enhanced" to listOf(1, m.hop)) + next) { "outputs do not fit the task" }
    }
    val shape = m.golden.input.shape
    need(m.golden.stride > 0) { "golden.stride must be positive" }
    need((shape + m.golden.outputs.values.flatMap { it.tensor.shape }).all { it > 0 }) { "golden has a bad shape" }
    if (m.task == Task.SEPARATE) {
        need(shape.size == 2 && shape[0] == m.channels) { "golden.input: not (channels, n)" }
    } else {
        need(shape.size == 1 && shape[0] % m.hop == 0) { "golden.input: not (n,), n a multiple of hop" }
    }
}

private fun checkFiles(m: Manifest) {
    val tensors = listOf(m.golden.input) + m.golden.outputs.values.map { it.tensor }
    val used = m.graphs.values.map { it.file } + tensors.map { it.file }
    for (path in used + m.files.keys) {
        need(isSafe(path) && path != "manifest.json") { "unsafe file path '$path'" }
        need(path in m.files) { "$path is used but not listed in files" }
    }
    for ((path, record) in m.files) {
        val valid = record.bytes >= 0 && Regex("[0-9a-f]{64}").matches(record.sha256)
        need(valid) { "$path has no valid size and SHA-256" }
    }
    for (tensor in tensors) {
        val bytes = tensor.shape.fold(4L) { n, k -> n * k }
        need(m.files.getValue(tensor.file).bytes == bytes) { "${tensor.file} is not $bytes bytes as its shape says" }
    }
}

/** Whether `path` stays inside the bundle: relative, forward slashes, no `.` or `..`. */
internal fun isSafe(path: String): Boolean =
    path.none { it in "\\:\u0000\"<>|?*" } && path.split('/').none { it.isEmpty() || it == "." || it == ".." }

private inline fun need(condition: Boolean, message: () -> String) {
    if (!condition) malformed(message())
}

private fun malformed(message: String): Nothing = throw EdgeException("malformed manifest.json: $message")
