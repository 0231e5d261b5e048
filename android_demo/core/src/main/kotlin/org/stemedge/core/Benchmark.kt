package org.stemedge.core

import org.json.JSONArray
import org.json.JSONObject
import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale
import java.util.TimeZone

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
    ): JSONObject = report(settings) {
        val cases = entries.flatMap {
            progress(it.label, 0.0)
            load(it, settings.threads)
        }
        cases.using { measure(cases, settings, progress) }
    }!!

    /**
     * Measure one bundle on its first engine without a pause, minute by minute: what a warm device holds.
     *
     * `goesOn(share, minutes)` is called some times a second with the minutes so far; null is returned once it gives
     * false. The report is one of [run]'s, whose rounds are the minutes, with `sustained` in its result.
     */
    fun sustain(
        entry: BenchmarkEntry,
        settings: SustainedSettings,
        goesOn: (Double, List<Minute>) -> Boolean,
    ): JSONObject? {
        val seconds = settings.minutes * settings.minuteSeconds
        return report(BenchmarkSettings(seconds, settings.threads, settings.minutes)) {
            val cases = load(entry, settings.threads, most = 1)
            cases.using {
                if (cases.isEmpty()) return@using JSONArray()
                val minutes = cases[0].sustain(settings, { machine.thermal()?.status }, goesOn) ?: return@using null
                JSONArray().put(cases[0].result(settings.threads, machine.peakBytes()).put("sustained", json(minutes)))
            }
        }
    }

    /** The report of what `measure` gives; null where it gives none. */
    private fun report(settings: BenchmarkSettings, measure: () -> JSONArray?): JSONObject? {
        val started = SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss'Z'", Locale.ROOT)
            .apply { timeZone = TimeZone.getTimeZone("UTC") }.format(Date())
        val fingerprint = machine.fingerprint(engines.associate { it.version })
        val thermal = machine.thermal()
        val results = measure() ?: return null
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
    }

    private fun load(entry: BenchmarkEntry, threads: Int, most: Int = Int.MAX_VALUE): List<Case> {
        val bundle = attempt(entry.label, null, threads) { entry.open() } ?: return emptyList()
        val usable = engines.filter { it.format in bundle.manifest.graphs }.take(most)
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

/** Close the cases in the end. */
private fun <T> List<Case>.using(action: () -> T): T = try {
    action()
} finally {
    forEach { it.graph.close() }
}
