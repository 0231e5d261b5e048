package org.stemedge.demo

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.util.Log
import android.view.View
import android.widget.Button
import android.widget.ProgressBar
import android.widget.Spinner
import android.widget.TextView
import org.json.JSONObject
import org.stemedge.core.BenchmarkSettings

/**
 * Runs [BenchmarkJob] and shows its report. By adb, which starts it at once:
 *
 *     adb shell am start -n org.stemedge.demo/.BenchmarkActivity --ez run true \
 *         --es bundle enhancer --ei threads 1 --ef seconds 10
 */
class BenchmarkActivity : Activity() {
    private val message by lazy { findViewById<TextView>(R.id.message) }
    private val results by lazy { findViewById<TextView>(R.id.results) }
    private val start by lazy { findViewById<Button>(R.id.start) }
    private val export by lazy { findViewById<Button>(R.id.export) }
    private val progress by lazy { findViewById<ProgressBar>(R.id.progress) }
    private val show: (Measurement) -> Unit = ::show
    private var names: List<String>? = null
    private var chosen: String? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_benchmark)
        findViewById<View>(R.id.debuggable).visible(demo.benchmark.debuggable)
        start.setOnClickListener { demo.benchmark.start(chosen, BenchmarkSettings(), null) }
        export.setOnClickListener {
            val target = Intent(Intent.ACTION_CREATE_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE)
                .setType("application/json").putExtra(Intent.EXTRA_TITLE, "benchmark.json")
            pick(target, EXPORT) { message.text = it }
        }
        inBackground({ demo.bundles.names() }, { message.text = it }) { found ->
            names = found
            if (found.isEmpty()) message.setText(R.string.main_no_bundles)
            val all = getString(R.string.benchmark_all)
            findViewById<Spinner>(R.id.bundle).show(listOf(all) + found) { name ->
                chosen = name.takeIf { it != all }
                show(demo.benchmark.state.value)
            }
        }
        if (savedInstanceState == null) runFrom(intent) // a rotation is no new start
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        runFrom(intent)
    }

    override fun onStart() {
        super.onStart()
        demo.benchmark.state.watch(show)
    }

    override fun onStop() {
        demo.benchmark.state.unwatch(show)
        super.onStop()
    }

    @Deprecated("its successor is in androidx, which this app does without")
    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        val uri = data?.data ?: return
        val done = demo.benchmark.state.value as? Measurement.Done ?: return
        if (requestCode != EXPORT || resultCode != RESULT_OK) return
        inBackground({
            val stream = contentResolver.openOutputStream(uri) ?: throw java.io.FileNotFoundException("$uri")
            stream.use { it.write(done.report.toString(2).toByteArray()) }
        }, { message.text = it }) { message.setText(R.string.benchmark_saved) }
    }

    private fun runFrom(intent: Intent) {
        if (!intent.getBooleanExtra("run", false)) return
        val settings = BenchmarkSettings(
            seconds = intent.getFloatExtra("seconds", 5f).toDouble().coerceIn(0.1, 600.0),
            threads = intent.getIntExtra("threads", 1).coerceIn(1, 16),
        )
        val bundle = intent.getStringExtra("bundle")
        val command = "am start --es bundle ${bundle ?: "(all)"} --ei threads ${settings.threads} " +
            "--ef seconds ${settings.seconds}"
        demo.benchmark.start(bundle, settings, command)
    }

    private fun show(state: Measurement) {
        val running = state is Measurement.Running
        start.isEnabled = !running && !names.isNullOrEmpty()
        progress.visible(running, otherwise = View.INVISIBLE)
        export.visible(state is Measurement.Done)
        when (state) {
            is Measurement.Idle -> {
                if (state.message.isNotEmpty() || !names.isNullOrEmpty()) message.text = state.message
            }
            is Measurement.Running -> {
                progress.progress = (1000 * state.share).toInt()
                message.text = text(R.string.benchmark_running, state.label)
            }
            is Measurement.Done -> {
                message.text = text(R.string.benchmark_file, state.file.path)
                results.text = summary(state.report)
                Log.i(LOG, "benchmark report: ${state.file.path}") // for a script that waits for it
            }
        }
    }

    private fun summary(report: JSONObject): String {
        val lines = ArrayList<String>()
        for (result in objects(report, "results")) {
            val time = result.getJSONObject("hop_time")
            fun milliseconds(key: String) = 1000 * time.getDouble(key)
            lines += text(
                R.string.benchmark_result,
                result.getString("bundle"), result.getString("backend"), result.getString("precision"),
                result.getDouble("rtf"), result.getDouble("golden_snr_db"), 1000 * result.getDouble("load_seconds"),
                1000 * result.getDouble("first_seconds"), 1000 * result.getDouble("hop_seconds"),
                milliseconds("p50"), milliseconds("p95"), milliseconds("p99"), milliseconds("max"),
                result.getInt("deadline_misses"),
            )
        }
        for (failure in objects(report, "failures")) {
            lines += text(R.string.benchmark_failure, failure.getString("bundle"), failure.getString("error"))
        }
        val machine = report.getJSONObject("machine")
        fun status(moment: String) = machine.optJSONObject("thermal")?.optJSONObject(moment)?.optString("status") ?: "?"
        lines += text(
            R.string.benchmark_device,
            machine.optString("device_model"), machine.getString("system"), status("start"), status("end"),
        )
        return lines.joinToString("\n\n")
    }

    private fun objects(report: JSONObject, key: String): List<JSONObject> {
        val array = report.getJSONArray(key)
        return List(array.length()) { array.getJSONObject(it) }
    }

    private companion object {
        const val EXPORT = 1
    }
}
