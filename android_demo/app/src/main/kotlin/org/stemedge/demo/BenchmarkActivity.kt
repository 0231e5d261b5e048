package org.stemedge.demo

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.util.Log
import android.view.View
import android.view.WindowManager
import android.widget.Button
import android.widget.ProgressBar
import android.widget.Spinner
import android.widget.TextView
import org.stemedge.core.BenchmarkSettings
import org.stemedge.core.SustainedSettings

/**
 * Runs [BenchmarkJob] and shows its report. By adb, which starts it at once:
 *
 *     adb shell am start -n org.stemedge.demo/.BenchmarkActivity --ez run true \
 *         --es bundle enhancer --ei threads 1 --ef seconds 10
 *
 * With `--ei minutes 10` in place of the seconds the bundle runs so long without a pause.
 */
class BenchmarkActivity : Activity() {
    private val message by lazy { findViewById<TextView>(R.id.message) }
    private val results by lazy { findViewById<TextView>(R.id.results) }
    private val start by lazy { findViewById<Button>(R.id.start) }
    private val sustain by lazy { findViewById<Button>(R.id.sustain) }
    private val stop by lazy { findViewById<Button>(R.id.stop) }
    private val share by lazy { findViewById<Button>(R.id.share) }
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
        sustain.setOnClickListener { chosen?.let { demo.benchmark.sustain(it, SustainedSettings(), null) } }
        stop.setOnClickListener { demo.benchmark.stop(getString(R.string.benchmark_stopped)) }
        share.setOnClickListener {
            val done = demo.benchmark.state.value as? Measurement.Done ?: return@setOnClickListener
            val send = Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_SUBJECT, done.file.name)
                .putExtra(Intent.EXTRA_TEXT, done.report.toString(2))
            startActivity(Intent.createChooser(send, null))
        }
        export.setOnClickListener {
            val target = Intent(Intent.ACTION_CREATE_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE)
                .setType("application/json").putExtra(Intent.EXTRA_TITLE, (demo.benchmark.state.value as? Measurement.Done)?.file?.name)
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
        // the system slows down what is not in front: the minutes would not be alike
        if (!isChangingConfigurations) demo.benchmark.stop(getString(R.string.benchmark_left))
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
        val bundle = intent.getStringExtra("bundle")
        val threads = intent.getIntExtra("threads", 1).coerceIn(1, 16)
        val start = "am start --es bundle ${bundle ?: "(all)"} --ei threads $threads"
        val minutes = intent.getIntExtra("minutes", 0).coerceIn(0, 120)
        if (minutes == 0) {
            val seconds = intent.getFloatExtra("seconds", 5f).toDouble().coerceIn(0.1, 600.0)
            demo.benchmark.start(bundle, BenchmarkSettings(seconds, threads), "$start --ef seconds $seconds")
        } else if (bundle == null) {
            message.setText(R.string.benchmark_choose)
        } else {
            demo.benchmark.sustain(bundle, SustainedSettings(minutes, threads), "$start --ei minutes $minutes")
        }
    }

    private fun show(state: Measurement) {
        val running = demo.benchmark.running
        val sustained = state is Measurement.Sustained
        start.isEnabled = !running && !names.isNullOrEmpty()
        sustain.isEnabled = start.isEnabled && chosen != null
        stop.visible(sustained)
        progress.visible(running, otherwise = View.INVISIBLE)
        for (button in listOf(share, export)) button.visible(state is Measurement.Done)
        // a phone that sleeps does not run at full speed
        if (sustained) window.addFlags(AWAKE) else window.clearFlags(AWAKE)
        when (state) {
            is Measurement.Idle -> {
                if (state.message.isNotEmpty() || !names.isNullOrEmpty()) message.text = state.message
            }
            is Measurement.Running -> {
                progress.progress = (1000 * state.share).toInt()
                message.text = text(R.string.benchmark_running, state.label)
            }
            is Measurement.Sustained -> {
                progress.progress = (1000 * state.share).toInt()
                message.text = text(R.string.benchmark_sustaining, state.label, state.minutes.size + 1)
                results.text = table(state.minutes)
            }
            is Measurement.Done -> {
                message.text = text(R.string.benchmark_file, state.file.path)
                results.text = summary(state.report)
                Log.i(LOG, "benchmark report: ${state.file.path}") // for a script that waits for it
            }
        }
    }

    private companion object {
        const val EXPORT = 1
        const val AWAKE = WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON
    }
}
