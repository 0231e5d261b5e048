package org.stemedge.ort

import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.stemedge.core.Benchmark
import org.stemedge.core.BenchmarkEntry
import org.stemedge.core.BenchmarkSettings
import org.stemedge.core.Bundle
import org.stemedge.core.Machine
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
    fun aCaseOnItsOwnHasItsPeakMemory() {
        val bundle = shippedBundles()[0]
        val report = Benchmark(Machine(), "stem-edge demo" to "test")
            .run(listOf(BenchmarkEntry(bundle.name) { Bundle.open(bundle) }), BenchmarkSettings(0.1)) { _, _ -> }
        assertTrue(report.getJSONArray("results").getJSONObject(0).getLong("peak_bytes") > 10_000_000)
        assertTrue(report.getJSONObject("machine").isNull("thermal"))
    }
}
