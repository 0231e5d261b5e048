package org.stemedge.ort

import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.stemedge.core.Benchmark
import org.stemedge.core.BenchmarkEntry
import org.stemedge.core.BenchmarkSettings
import org.stemedge.core.Bundle
import org.stemedge.core.Engine
import org.stemedge.core.Graph
import org.stemedge.core.Machine
import org.stemedge.core.Minute
import org.stemedge.core.SustainedSettings
import org.stemedge.core.Thermal
import java.io.File

/** The report goes to the file of -Dedge.report, where check.sh validates it against edge-bench's schema. */
class BenchmarkTest {
    @Test
    fun reportsSpeedAndFailures() {
        val bundles = shippedBundles()
        val machine = object : Machine() {
            override fun thermal() = Thermal("none", mapOf("cpu" to 40.5))
        }
        val entries = bundles.map { BenchmarkEntry(it.name) { Bundle.open(it) } } +
            BenchmarkEntry("nowhere") { Bundle.open(File("nowhere")) }
        val shares = ArrayList<Double>()
        val settings = BenchmarkSettings(seconds = 0.5, rounds = 3)
        val report = Benchmark(machine, "stem-edge demo" to "test").run(entries, settings) { _, share -> shares += share }

        val results = report.getJSONArray("results")
        assertEquals(bundles.map { it.name }, List(results.length()) { results.getJSONObject(it).getString("bundle") })
        for (i in 0 until results.length()) {
            val result = results.getJSONObject(i)
            assertTrue(result.getDouble("golden_snr_db") > 20)
            assertTrue(result.getDouble("rtf") in 1e-5..10.0)
            assertEquals(3, result.getJSONArray("rtf_rounds").length())
            assertTrue(result.isNull("peak_bytes")) // several cases shared the process
            val quantiles = result.getJSONArray("hop_quantiles")
            assertTrue((1 until 21).all { quantiles.getDouble(it) >= quantiles.getDouble(it - 1) })
        }
        val failures = report.getJSONArray("failures")
        assertEquals(1, failures.length())
        assertTrue("no such bundle" in failures.getJSONObject(0).getString("error"))
        assertEquals(shares.sorted(), shares)
        assertEquals(report.toString(), JSONObject(report.toString()).toString()) // it is JSON
        System.getProperty("edge.report")?.let { File(it).writeText(report.toString(2)) }
    }

    @Test
    fun minutesWithoutAPauseShowADeviceThatSlowsDown() {
        val bundle = shippedBundles().first { "enhancer" in it.name }
        val status = listOf("none", "none", "severe").iterator()
        val machine = object : Machine() {
            override fun thermal() = Thermal(if (status.hasNext()) status.next() else "severe")
        }
        val shares = ArrayList<Double>()
        val device = Slowing()
        val report = Benchmark(machine, "stem-edge demo" to "test", engines = listOf(device))
            .sustain(BenchmarkEntry(bundle.name) { Bundle.open(bundle) }, SustainedSettings(3, 1, 0.6)) { share, minutes ->
                shares += share
                device.hot = minutes.size == 2
                true
            }!!
        val result = report.getJSONArray("results").getJSONObject(0)
        val sustained = result.getJSONObject("sustained")
        val minutes = sustained.getJSONArray("minutes")
        assertEquals(3, minutes.length())
        assertEquals(3, result.getJSONArray("rtf_rounds").length())
        assertEquals(result.getInt("hops"), (0 until 3).sumOf { minutes.getJSONObject(it).getInt("hops") })
        // a hop takes 20 ms more in the end, which is more than its audio lasts
        assertTrue(minutes.getJSONObject(2).getDouble("p95") > 0.02)
        assertEquals(minutes.getJSONObject(2).getInt("hops"), minutes.getJSONObject(2).getInt("deadline_misses"))
        assertTrue(sustained.getDouble("slowdown") > 2)
        assertTrue(sustained.getBoolean("throttles"))
        assertEquals("severe", minutes.getJSONObject(2).getString("thermal_status"))
        assertEquals(shares.sorted(), shares)
        System.getProperty("edge.report")?.let { File("$it.sustained").writeText(report.toString(2)) }
    }

    @Test
    fun aSustainedRunEndsWhereItIsStopped() {
        val bundle = shippedBundles().first { "enhancer" in it.name }
        val seen = ArrayList<Minute>()
        val report = Benchmark(Machine(), "stem-edge demo" to "test")
            .sustain(BenchmarkEntry(bundle.name) { Bundle.open(bundle) }, SustainedSettings(10, 1, 0.3)) { _, minutes ->
                seen += minutes
                minutes.size < 2
            }
        assertNull(report)
        assertTrue(seen.isNotEmpty() && seen.all { it.hops > 0 && it.rtf > 0 && it.thermal == null })
        val failed = Benchmark(Machine(), "stem-edge demo" to "test")
            .sustain(BenchmarkEntry("nowhere") { Bundle.open(File("nowhere")) }, SustainedSettings()) { _, _ -> true }!!
        assertEquals(0, failed.getJSONArray("results").length())
        assertFalse(failed.getJSONArray("failures").getJSONObject(0).getString("error").isEmpty())
    }

    @Test
    fun aCaseOnItsOwnHasItsPeakMemory() {
        val bundle = shippedBundles()[0]
        val report = Benchmark(Machine(), "stem-edge demo" to "test")
            .run(listOf(BenchmarkEntry(bundle.name) { Bundle.open(bundle) }), BenchmarkSettings(0.1)) { _, _ -> }
        assertTrue(report.getJSONArray("results").getJSONObject(0).getLong("peak_bytes") > 10_000_000)
        assertTrue(report.getJSONObject("machine").isNull("thermal"))
    }
}

/** ONNX Runtime on a device that may be hot. */
private class Slowing(private val engine: Engine = OrtEngine()) : Engine by engine {
    @Volatile
    var hot = false

    override fun load(bundle: Bundle, threads: Int): Graph {
        val graph = engine.load(bundle, threads)
        return object : Graph by graph {
            override fun run() {
                graph.run()
                if (hot) Thread.sleep(20)
            }
        }
    }
}
