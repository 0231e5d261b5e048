package org.stemedge.core

import org.json.JSONArray
import org.json.JSONObject

/** A run without a pause, which warms the device as hours of use do. `minuteSeconds` is less in tests. */
data class SustainedSettings(val minutes: Int = 10, val threads: Int = 1, val minuteSeconds: Double = 60.0)

/**
 * What one minute of it was: the median real-time factor, the 95th percentile of a hop's time in seconds, the hops and
 * those that took longer than their audio, and Android's thermal status at its end, null where it is not told.
 */
data class Minute(val rtf: Double, val p95: Double, val hops: Int, val late: Int, val thermal: String?)

/** How many times as long as in the first minute a hop takes in the last. */
fun slowdown(minutes: List<Minute>): Double = minutes.last().rtf / minutes.first().rtf

/** Whether the device slows down as it warms: by more than minutes differ anyway. */
fun throttles(minutes: List<Minute>): Boolean = slowdown(minutes) > THROTTLED

/** `sustained` of a result in benchmarks/report.schema.json. */
internal fun json(minutes: List<Minute>): JSONObject = JSONObject()
    .put(
        "minutes",
        JSONArray(
            minutes.map {
                JSONObject().put("rtf", it.rtf).put("p95", it.p95).put("hops", it.hops)
                    .put("deadline_misses", it.late).put("thermal_status", it.thermal ?: JSONObject.NULL)
            },
        ),
    )
    .put("slowdown", slowdown(minutes))
    .put("throttles", throttles(minutes))

private const val THROTTLED = 1.1
