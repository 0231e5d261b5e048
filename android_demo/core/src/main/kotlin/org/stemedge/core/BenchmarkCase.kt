package org.stemedge.core

import org.json.JSONArray
import org.json.JSONObject
import java.util.Random
import kotlin.math.ceil
import kotlin.math.max
import kotlin.math.min

/** One bundle on one engine: loaded, checked against its golden output and warm. */
internal class Case(val label: String, private val bundle: Bundle, val engine: Engine, threads: Int) {
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

    /** Run without a pause, a round for each minute; null where `goesOn` ends it. `thermal`: the status now. */
    fun sustain(
        settings: SustainedSettings,
        thermal: () -> String?,
        goesOn: (Double, List<Minute>) -> Boolean,
    ): List<Minute>? {
        val minutes = ArrayList<Minute>()
        while (minutes.size < settings.minutes) {
            val times = timeFor(settings.minuteSeconds) { goesOn((minutes.size + it) / settings.minutes, minutes) } ?: return null
            rounds += times
            val sorted = times.sortedArray()
            minutes += Minute(
                rtf = quantile(sorted, 0.5) / manifest.hopSeconds,
                p95 = quantile(sorted, 0.95),
                hops = times.size,
                late = times.count { it > manifest.hopSeconds },
                thermal = thermal(),
            )
        }
        return minutes
    }

    /** The times of the runs of so many seconds; `goesOn(share)` is asked some times a second. */
    private fun timeFor(seconds: Double, goesOn: (Double) -> Boolean): DoubleArray? {
        var times = DoubleArray(1024)
        var count = 0
        val started = System.nanoTime()
        var asked = Double.NEGATIVE_INFINITY
        while (true) {
            val passed = (System.nanoTime() - started) / 1e9
            if (passed - asked >= ASK_SECONDS) {
                if (!goesOn(min(1.0, passed / seconds))) return null
                asked = passed
            }
            if (count > 0 && passed >= seconds) return times.copyOf(count)
            if (count == times.size) times = times.copyOf(2 * count)
            times[count++] = time()
        }
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
        val times = rounds.reduce { all, round -> all + round }.apply { sort() }
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
            .put("rtf_rounds", JSONArray(rounds.map { quantile(it.sortedArray(), 0.5) / hop }))
            .put(
                "hop_time",
                JSONObject().put("min", times.first()).put("p50", quantile(times, 0.5))
                    .put("p95", quantile(times, 0.95)).put("p99", quantile(times, 0.99)).put("max", times.last()),
            )
            .put("hop_quantiles", JSONArray(List(21) { quantile(times, it / 20.0) }))
            .put("deadline_misses", times.count { it > hop })
            .put("peak_bytes", peakBytes ?: JSONObject.NULL)
    }

    private companion object {
        const val ASK_SECONDS = 0.25
    }
}

/** The quantile `q` of sorted values, linear between neighbours as numpy's. */
internal fun quantile(sorted: DoubleArray, q: Double): Double {
    val at = q * (sorted.size - 1)
    val low = at.toInt()
    val high = ceil(at).toInt()
    return sorted[low] + (at - low) * (sorted[high] - sorted[low])
}
