package org.stemedge.demo

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.view.View
import android.widget.TextView

/** The first screen: the way to the others, and the bundles that there are. */
class MainActivity : Activity() {
    private val message by lazy { findViewById<TextView>(R.id.message) }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_main)
        val screens = mapOf(
            R.id.live to LiveActivity::class.java,
            R.id.separate to SeparateActivity::class.java,
            R.id.benchmark to BenchmarkActivity::class.java,
        )
        for ((button, screen) in screens) {
            findViewById<View>(button).setOnClickListener { startActivity(Intent(this, screen)) }
        }
        findViewById<View>(R.id.add_bundle).setOnClickListener {
            pick(openDocument("*/*"), ADD_BUNDLE) { message.text = it }
        }
        showBundles("")
    }

    @Deprecated("its successor is in androidx, which this app does without")
    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        val uri = data?.data ?: return
        if (requestCode != ADD_BUNDLE || resultCode != RESULT_OK) return
        message.setText(R.string.loading)
        inBackground({ demo.bundles.add(uri) }, { message.text = it }) { name ->
            showBundles(text(R.string.main_added, name) + "\n")
        }
    }

    private fun showBundles(before: String) {
        inBackground({ demo.bundles.names() }, { message.text = it }) { names ->
            message.text = before + if (names.isEmpty()) {
                getString(R.string.main_no_bundles)
            } else {
                text(R.string.main_bundles, names.joinToString())
            }
        }
    }

    private companion object {
        const val ADD_BUNDLE = 1
    }
}
