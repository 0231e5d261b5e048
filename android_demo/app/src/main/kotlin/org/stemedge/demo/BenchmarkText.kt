package org.stemedge.demo

import android.content.Context
import org.json.JSONObject
import org.stemedge.core.Minute
import org.stemedge.core.slowdown
import org.stemedge.core.throttles

/** A report for the screen. */
fun Context.summary(report: JSONObject): String {
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
        result.optJSONObject("sustained")?.let { found ->
            val minutes = objects(found, "minutes").map {
                val thermal = if (it.isNull("thermal_status")) null else it.getString("thermal_status")
                Minute(it.getDouble("rtf"), it.getDouble("p95"), it.getInt("hops"), it.getInt("deadline_misses"), thermal)
            }
            lines += listOf(verdict(minutes), table(minutes))
        }
    }
    for (failure in objects(report, "failures")) {
        lines += text(R.string.benchmark_failure, failure.getString("bundle"), failure.getString("error"))
    }
    val machine = report.getJSONObject("machine")
    fun status(moment: String): String {
        val state = machine.optJSONObject("thermal")?.optJSONObject(moment)
        return if (state == null || state.isNull("status")) getString(R.string.benchmark_not_told) else state.getString("status")
    }
    lines += text(
        R.string.benchmark_device,
        machine.optString("device_model"), machine.getString("system"), status("start"), status("end"),
    )
    return lines.joinToString("\n\n")
}

/** A line for each minute. */
fun Context.table(minutes: List<Minute>): String = minutes.withIndex().joinToString("\n") { (i, minute) ->
    val thermal = minute.thermal ?: getString(R.string.benchmark_not_told)
    text(R.string.benchmark_minute, i + 1, minute.rtf, 1000 * minute.p95, minute.late, minute.hops, thermal)
}

/** Whether the device keeps its speed, and whether that is enough. */
private fun Context.verdict(minutes: List<Minute>): String {
    val speed = if (throttles(minutes)) R.string.benchmark_throttles else R.string.benchmark_holds
    val realTime = if (minutes.last().rtf < 1) R.string.benchmark_real_time else R.string.benchmark_too_slow
    return text(speed, minutes.size, slowdown(minutes)) + " " + text(realTime, minutes.last().rtf)
}

private fun objects(report: JSONObject, key: String): List<JSONObject> {
    val array = report.getJSONArray(key)
    return List(array.length()) { array.getJSONObject(it) }
}
