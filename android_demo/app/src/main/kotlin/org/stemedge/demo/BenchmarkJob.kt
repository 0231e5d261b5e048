package org.stemedge.demo

import android.app.ActivityManager
import android.content.Context
import android.content.pm.ApplicationInfo
import android.os.Build
import android.os.PowerManager
import org.json.JSONObject
import org.stemedge.core.Benchmark
import org.stemedge.core.BenchmarkEntry
import org.stemedge.core.BenchmarkSettings
import org.stemedge.core.EdgeException
import org.stemedge.core.Machine
import org.stemedge.core.Minute
import org.stemedge.core.SustainedSettings
import org.stemedge.core.Thermal
import java.io.File

/** What the Benchmark screen shows. */
sealed interface Measurement {
    data class Idle(val message: String = "") : Measurement

    data class Running(val label: String, val share: Double) : Measurement

    /** Without a pause, `minutes` so far. */
    data class Sustained(val label: String, val share: Double, val minutes: List<Minute>) : Measurement

    class Done(val report: JSONObject, val file: File) : Measurement
}

/** Measures bundles, and writes the report in the format of edge-bench. */
class BenchmarkJob(private val context: Context) {
    val state = Watched<Measurement>(Measurement.Idle())
    val debuggable = context.applicationInfo.flags and ApplicationInfo.FLAG_DEBUGGABLE != 0

    @Volatile
    private var stopping: String? = null

    val running: Boolean get() = state.value.let { it is Measurement.Running || it is Measurement.Sustained }

    /** `bundle` null: all. `command`: how it was started, for the report; null by hand. */
    fun start(bundle: String?, settings: BenchmarkSettings, command: String?) =
        begin(Measurement.Running("", 0.0)) {
            val entries = entries(bundle)
            val report = benchmark(command).run(entries, settings) { label, share ->
                state.set(Measurement.Running(label, share))
            }
            written(report, "benchmark.json")
        }

    /** One bundle for minutes without a pause; `command` as in [start]. */
    fun sustain(bundle: String, settings: SustainedSettings, command: String?) =
        begin(Measurement.Sustained(bundle, 0.0, emptyList())) {
            val report = benchmark(command).sustain(entries(bundle).single(), settings) { share, minutes ->
                state.set(Measurement.Sustained(bundle, share, minutes.toList()))
                stopping == null
            }
            if (report == null) Measurement.Idle(stopping ?: "") else written(report, "benchmark-sustained.json")
        }

    /** End [sustain] without a report; `why` is shown. */
    fun stop(why: String) {
        stopping = why
    }

    private fun begin(first: Measurement, work: () -> Measurement) {
        if (running) return
        stopping = null
        state.set(first)
        context.inBackground({
            context.requireMemory()
            work()
        }, { state.set(Measurement.Idle(it)) }, state::set)
    }

    private fun entries(bundle: String?): List<BenchmarkEntry> {
        val store = context.demo.bundles
        val names = store.names()
        if (bundle != null && bundle !in names) {
            throw EdgeException(context.text(R.string.benchmark_unknown_bundle, bundle, names.joinToString()))
        }
        if (names.isEmpty()) throw EdgeException(context.getString(R.string.main_no_bundles))
        return names.filter { bundle == null || it == bundle }.map { BenchmarkEntry(it) { store.open(it) } }
    }

    private fun benchmark(command: String?): Benchmark {
        val version = context.packageManager.getPackageInfo(context.packageName, 0).versionName
        val tool = context.getString(R.string.app_name) to if (debuggable) "$version debuggable" else "$version"
        return Benchmark(AndroidMachine(context), tool, command)
    }

    private fun written(report: JSONObject, name: String): Measurement {
        val file = File(context.getExternalFilesDir(null) ?: context.filesDir, name)
        file.writeText(report.toString(2))
        return Measurement.Done(report, file)
    }
}

/** What Android knows of the device. */
private class AndroidMachine(private val context: Context) : Machine() {
    override val processor: String? = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) {
        "${Build.SOC_MANUFACTURER} ${Build.SOC_MODEL}"
    } else {
        Build.HARDWARE
    }
    override val deviceModel = "${Build.MANUFACTURER} ${Build.MODEL}"
    override val system = "Android ${Build.VERSION.RELEASE} (API ${Build.VERSION.SDK_INT})"
    override val memoryBytes: Long? = ActivityManager.MemoryInfo().also {
        context.getSystemService(ActivityManager::class.java).getMemoryInfo(it)
    }.totalMem

    override fun thermal(): Thermal? {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.Q) return null
        return Thermal(STATUS.getOrNull(context.getSystemService(PowerManager::class.java).currentThermalStatus))
    }

    private companion object {
        val STATUS = listOf("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
    }
}
