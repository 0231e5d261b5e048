package org.stemedge.demo

import android.app.Application
import android.content.Context
import android.system.Os

/** Holds what outlives the screens: jobs go on and keep their results when a screen is rotated or left. */
class DemoApplication : Application() {
    val bundles by lazy { BundleStore(this) }
    val separation by lazy { SeparationJob(this) }
    val benchmark by lazy { BenchmarkJob(this) }

    override fun onCreate() {
        super.onCreate()
        // Read when ONNX Runtime's library loads, which is later: its telemetry is on by default.
        Os.setenv("ORT_DISABLE_TELEMETRY", "1", true)
    }
}

val Context.demo: DemoApplication get() = applicationContext as DemoApplication
