package org.stemedge.demo

import android.app.Activity
import android.content.Context
import android.content.Intent
import android.view.View
import android.widget.AdapterView
import android.widget.ArrayAdapter
import android.widget.Spinner

/** A string resource with its places filled. */
fun Context.text(id: Int, vararg values: Any?): String = getString(id).format(*values)

/** Show `names` in a spinner; `chosen` is called with what is selected, first at once. */
fun Spinner.show(names: List<String>, chosen: (String) -> Unit) = show(names, 0) { chosen(names[it]) }

/** The same by the place in the list, where `selected` is chosen first. */
fun Spinner.show(names: List<String>, selected: Int, chosen: (Int) -> Unit) {
    adapter = ArrayAdapter(context, android.R.layout.simple_spinner_item, names).apply {
        setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item)
    }
    onItemSelectedListener = object : AdapterView.OnItemSelectedListener {
        override fun onItemSelected(parent: AdapterView<*>?, view: View?, position: Int, id: Long) =
            chosen(position)

        override fun onNothingSelected(parent: AdapterView<*>?) = Unit
    }
    setSelection(selected)
}

/** Start one of the system's pickers; a device without one is told by `failed`. */
fun Activity.pick(intent: Intent, request: Int, failed: (String) -> Unit) {
    try {
        @Suppress("DEPRECATION") // its successor is in androidx, which this app does without
        startActivityForResult(intent, request)
    } catch (error: android.content.ActivityNotFoundException) {
        failed(sentence(error))
    }
}

fun openDocument(type: String): Intent =
    Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType(type)

fun View.visible(on: Boolean, otherwise: Int = View.GONE) {
    visibility = if (on) View.VISIBLE else otherwise
}
