package org.stemedge.core

import org.json.JSONArray
import org.json.JSONObject
import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale
import java.util.Random
import java.util.TimeZone
import kotlin.math.ceil
import kotlin.math.max

/** What to measure: `label` is the bundle's name or path in the report. */
class BenchmarkEntry(val label: String, val open: () -> Bundle)

/** Measuring time per case in seconds, in `rounds` in which the cases take turns. */
data class BenchmarkSettings(val seconds: Double = 5.0, val threads: Int = 1, val rounds: Int = 5)

/**
 * Measures bundles as `edge-bench` does and reports in its format (benchmarks/report.schema.json).
 *
 * Each graph must pass its golden check before it is timed; what fails is reported and does not stop the others.
 * `tool` is the name and version of what runs this, `command` how it was started, null by hand.
 */
class Benchmark(
    private val machine: Machine,
    private val tool: Pair<String, String>,
    private val command: String? = null,
    private val engines: List<Engine> = Engines.all,
) {
    private val failures = JSONArray()

    /** Measure `entries`; `progress(label, share)` is called on the way, share from 0 to 1. Returns the report. */
    fun run(
        entries: List<BenchmarkEntry>,
        settings: BenchmarkSettings,
        progress: (String, Double) -> Unit,
    ): JSONObject {
        val started = SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss'Z'", Locale.ROOT)
            .apply { timeZone = TimeZone.getTimeZone("UTC") }.format(Date())
        val fingerprint = machine.fingerprint(engines.associate { it.version })
        val thermal = machine.thermal()
        val cases = entries.flatMap { load(it, settings.threads, progress) }
        try {
            val results = measure(cases, settings, progress)
            return JSONObject()
                .put("schema_version", "1.0")
                .put(
                    "tool",
                    JSONObject().put("name", tool.first).put("version", tool.second)
                        .put("command", command ?: JSONObject.NULL).put("started", started),
                )
                .put("machine", fingerprint.put("thermal", thermals(thermal, machine.thermal())))
                .put(
                    "settings",
                    JSONObject().put("seconds", settings.seconds).put("threads", JSONArray(listOf(settings.threads)))
                        .put("rounds", settings.rounds).put("order", "fixed"),
                )
                .put("results", results)
                .put("failures", failures)
        } finally {
            cases.forEach { it.graph.close() }
        }
    }

    private fun load(entry: BenchmarkEntry, threads: Int, progress: (String, Double) -> Unit): List<Case> {
        progress(entry.label, 0.0)
        val bundle = attempt(entry.label, null, threads) { entry.open() } ?: return emptyList()
        val usable = engines.filter { it.format in bundle.manifest.graphs }
        if (usable.isEmpty()) attempt(entry.label, null, threads) { Engines.of(bundle) }
        return usable.mapNotNull { engine ->
            attempt(entry.label, engine.format, threads) { Case(entry.label, bundle, engine, threads) }
        }
    }

    private fun measure(all: List<Case>, settings: BenchmarkSettings, progress: (String, Double) -> Unit): JSONArray {
        var cases = all
        for (round in 0 until settings.rounds) {
            cases = cases.filterIndexed { i, case ->
                val share = (round + i.toDouble() / cases.size) / settings.rounds
                progress(case.label, share)
                attempt(case.label, case.engine.format, settings.threads) {
                    case.round(settings.seconds / settings.rounds)
                } != null
            }
        }
        // The process's peak is that of a case only where nothing else was loaded.
        val peak = if (all.size == 1) machine.peakBytes() else null
        return JSONArray(cases.map { it.result(settings.threads, peak) })
    }

    private fun <T> attempt(label: String, format: String?, threads: Int, action: () -> T): T? = try {
        action()
    } catch (error: EdgeException) {
        failures.put(
            JSONObject().put("bundle", label).put("backend", format ?: JSONObject.NULL).put("threads", threads)
                .put("error", error.message),
        )
        null
    }

    private fun thermals(start: Thermal?, end: Thermal?): Any {
        if (start == null) return JSONObject.NULL
        val json = { state: Thermal ->
            JSONObject().put("status", state.status ?: JSONObject.NULL).put("celsius", JSONObject(state.celsius))
        }
        return JSONObject().put("start", json(start)).put("end", end?.let(json) ?: JSONObject.NULL)
    }
}

/** One bundle on one engine: loaded, checked against its golden output and warm. */
private class Case(val label: String, private val bundle: Bundle, val engine: Engine, threads: Int) {
    private val manifest = bundle.manifest
    private val loadSeconds: Double
    private val firstSeconds: Double
    private val goldenSnrDb: Double
    val graph: Graph
    private val rounds = ArrayList<DoubleArray>()

    init {
        val started = System.nanoTime()
        graph = engine.load(bundle, threads)
        loadSeconds = (System.nanoTime() - started) / 1e9
        try {
            val random = Random(0)
            graph.inputs[0].write(FloatArray(manifest.inputs[0].size) { 0.1f * random.nextGaussian().toFloat() })
            firstSeconds = time()
            goldenSnrDb = checkGolden(bundle, engine.format, graph)
            graph.inputs[0].write(FloatArray(manifest.inputs[0].size) { 0.1f * random.nextGaussian().toFloat() })
            time()
        } catch (error: EdgeException) {
            graph.close()
            throw error
        }
    }

    /** Time as many runs as fit into `seconds`, at least one. */
    fun round(seconds: Double) {
        val count = max(1, ceil(seconds / max(time(), 1e-6)).toInt())
        rounds += DoubleArray(count) { time() }
    }

    /** The seconds of one run; an enhancer's state is carried on. */
    private fun time(): Double {
        val started = System.nanoTime()
        graph.run()
        val seconds = (System.nanoTime() - started) / 1e9
        for (i in 1 until graph.inputs.size) {
            rewind(graph.inputs[i])
            rewind(graph.outputs[i])
            graph.inputs[i].put(graph.outputs[i])
        }
        return seconds
    }

    fun result(threads: Int, peakBytes: Long?): JSONObject {
        val times = rounds.flatMap { it.asList() }.sorted()
        val hop = manifest.hopSeconds
        val record = manifest.graphs.getValue(engine.format)
        return JSONObject()
            .put("bundle", label)
            .put("name", manifest.name)
            .put("task", manifest.task.id)
            .put("backend", engine.format)
            .put("precision", record.precision)
            .put("threads", threads)
            .put("prune_ratio", manifest.pruneRatio)
            .put("sample_rate", manifest.sampleRate)
            .put("hop_seconds", hop)
            .put("latency_seconds", manifest.latencySamples.toDouble() / manifest.sampleRate)
            .put("graph_bytes", record.bytes)
            .put("weight_bytes", record.weightBytes)
            .put("weight_bytes_per_second", record.weightBytes / hop)
            .put("macs_per_second", manifest.macsPerSecond)
            .put("attention_macs_per_second", manifest.attentionMacsPerSecond)
            .put("golden_snr_db", goldenSnrDb)
            .put("load_seconds", loadSeconds)
            .put("first_seconds", firstSeconds)
            .put("hops", times.size)
            .put("rtf", quantile(times, 0.5) / hop)
            .put("rtf_rounds", JSONArray(rounds.map { quantile(it.sorted(), 0.5) / hop }))
            .put(
                "hop_time",
                JSONObject().put("min", times.first()).put("p50", quantile(times, 0.5))
                    .put("p95", quantile(times, 0.95)).put("p99", quantile(times, 0.99)).put("max", times.last()),
            )
            .put("hop_quantiles", JSONArray(List(21) { quantile(times, it / 20.0) }))
            .put("deadline_misses", times.count { it > hop })
            .put("peak_bytes", peakBytes ?: JSONObject.NULL)
    }
}

/** The quantile `q` of sorted values, linear between neighbours as numpy's. */
internal fun quantile(sorted: List<Double>, q: Double): Double {
    val at = q * (sorted.size - 1)
    val low = at.toInt()
    val high = ceil(at).toInt()
    return sorted[low] + (at - low) * (sorted[high] - sorted[low])
}
