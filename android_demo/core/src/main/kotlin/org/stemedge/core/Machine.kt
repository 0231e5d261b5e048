package org.stemedge.core

import org.json.JSONArray
import org.json.JSONObject
import java.io.File
import java.io.IOException

/** Thermal state at one moment: Android's status, and degrees Celsius by sensor. */
data class Thermal(val status: String?, val celsius: Map<String, Double> = emptyMap())

/** What the device knows about itself better than the kernel's files do; null where it does not. */
open class Machine {
    open val processor: String? = null
    open val deviceModel: String? = null
    open val system: String = "${System.getProperty("os.name")} ${System.getProperty("os.version")}"
    open val memoryBytes: Long? = read("/proc/meminfo").lines().find { it.startsWith("MemTotal:") }
        ?.split(Regex("\\s+"))?.get(1)?.toLong()?.times(1024)

    open fun thermal(): Thermal? = null

    /** The fingerprint of a report: the `machine` object of benchmarks/report.schema.json without `thermal`. */
    fun fingerprint(packages: Map<String, String>): JSONObject {
        val cpu = read("/proc/cpuinfo").lines().filter { ':' in it }.reversed()
            .associate { it.substringBefore(':').trim().lowercase() to it.substringAfter(':').trim() }
        val flags = (cpu["flags"] ?: cpu["features"] ?: "").split(' ')
        val maximum = frequencies("cpuinfo_max_freq")
        return JSONObject()
            .put("processor", processor ?: cpu["model name"] ?: cpu["hardware"] ?: cpu["cpu part"] ?: "unknown")
            .put("device_model", deviceModel ?: JSONObject.NULL)
            .put("architecture", System.getProperty("os.arch").let { if (it == "amd64") "x86_64" else it })
            .put("features", JSONArray(FEATURES.filter { it in flags }))
            .put("processors", Runtime.getRuntime().availableProcessors())
            .put("memory_bytes", memoryBytes ?: JSONObject.NULL)
            .put("governor", read("$FREQUENCIES/cpu0/cpufreq/scaling_governor").trim().ifEmpty { JSONObject.NULL })
            .put(
                "frequency_hz",
                if (maximum == null) JSONObject.NULL else JSONObject().put("maximum", maximum)
                    .put("current", frequencies("scaling_cur_freq") ?: JSONObject.NULL),
            )
            .put("load_average", read("/proc/loadavg").substringBefore(' ').toDoubleOrNull() ?: JSONObject.NULL)
            .put("system", system)
            .put("python", JSONObject.NULL)
            .put("packages", JSONObject(packages))
    }

    /** The peak resident memory of this process in bytes. */
    fun peakBytes(): Long? = read("/proc/self/status").lines().find { it.startsWith("VmHWM:") }
        ?.split(Regex("\\s+"))?.get(1)?.toLong()?.times(1024)

    /** The highest of all processors, in Hz. */
    private fun frequencies(name: String): Long? = File(FREQUENCIES).listFiles().orEmpty()
        .filter { Regex("cpu\\d+").matches(it.name) }
        .mapNotNull { read("$it/cpufreq/$name").trim().toLongOrNull() }.maxOrNull()?.times(1000)

    private companion object {
        const val FREQUENCIES = "/sys/devices/system/cpu"

        // Instruction sets that decide how fast int8 is.
        val FEATURES = listOf("avx2", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve")

        /** Empty where the file is missing or forbidden, which Android does with some. */
        fun read(path: String): String = try {
            File(path).readText()
        } catch (_: IOException) {
            ""
        }
    }
}
