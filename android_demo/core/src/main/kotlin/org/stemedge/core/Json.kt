package org.stemedge.core

import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject
import org.json.JSONTokener

/**
 * Typed, checked reading of a JSON object: every getter throws an [EdgeException] that names the key.
 *
 * org.json itself converts silently (the text "3" is a number to it); a manifest is read more strictly.
 */
internal class Json(private val data: JSONObject, private val prefix: String = "") {
    val keys: List<String> get() = data.keys().asSequence().map { it.toString() }.toList()

    fun has(key: String): Boolean = data.has(key)

    fun string(key: String): String = value(key) as? String ?: wrong(key, "a string")

    fun int(key: String): Int = value(key) as? Int ?: wrong(key, "an integer")

    fun long(key: String): Long = when (val value = value(key)) {
        is Int -> value.toLong()
        is Long -> value
        else -> wrong(key, "an integer")
    }

    fun double(key: String): Double {
        val number = (value(key) as? Number)?.toDouble()
        return if (number != null && number.isFinite()) number else wrong(key, "a number")
    }

    fun intOrNull(key: String): Int? = if (!has(key) || data.isNull(key)) null else int(key)

    fun intOr(key: String, default: Int): Int = if (has(key)) int(key) else default

    fun json(key: String): Json = Json(value(key) as? JSONObject ?: wrong(key, "an object"), "$prefix$key.")

    fun strings(key: String): List<String> = items(key).map { it as? String ?: wrong(key, "a list of strings") }

    fun ints(key: String): List<Int> = items(key).map { it as? Int ?: wrong(key, "a list of integers") }

    fun jsons(key: String): List<Json> = items(key).mapIndexed { i, item ->
        Json(item as? JSONObject ?: wrong(key, "a list of objects"), "$prefix$key[$i].")
    }

    /** The values of an object whose keys are names, in their order. */
    fun map(key: String): Map<String, Json> = json(key).let { inner -> inner.keys.associateWith(inner::json) }

    private fun items(key: String): List<Any?> {
        val array = value(key) as? JSONArray ?: wrong(key, "a list")
        return List(array.length()) { array.opt(it) }
    }

    private fun value(key: String): Any =
        data.opt(key) ?: throw EdgeException("malformed manifest.json: $prefix$key is missing")

    private fun wrong(key: String, expected: String): Nothing =
        throw EdgeException("malformed manifest.json: $prefix$key must be $expected")

    companion object {
        /** Parse one JSON object and nothing after it. */
        fun parse(text: String): Json {
            try {
                val tokens = JSONTokener(text)
                val value = tokens.nextValue()
                if (value is JSONObject && tokens.nextClean() == END) return Json(value)
            } catch (error: JSONException) {
                throw EdgeException("manifest.json is not valid JSON (${error.message})", error)
            } catch (error: StackOverflowError) {
                throw EdgeException("manifest.json is not valid JSON (nested too deeply)", error)
            }
            throw EdgeException("manifest.json holds no single JSON object")
        }

        private const val END = '\u0000'
    }
}
