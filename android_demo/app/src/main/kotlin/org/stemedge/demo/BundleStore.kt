package org.stemedge.demo

import android.content.Context
import android.net.Uri
import android.provider.OpenableColumns
import org.stemedge.core.Bundle
import org.stemedge.core.EdgeException
import org.stemedge.core.Manifest
import org.stemedge.core.Task
import java.io.File
import java.io.FileNotFoundException
import java.io.IOException

/**
 * The bundles of this app: those in its assets, and those that the user added. All functions block on storage.
 *
 * The runtimes want files: an asset is copied out when it is first opened, and checked like every other bundle.
 */
class BundleStore(private val context: Context) {
    private val copies = File(context.filesDir, "bundles")
    private val added = File(context.filesDir, "added")

    /** Names, those that fit `task` first; without those of the other task where one is given. */
    fun names(task: Task? = null): List<String> {
        val all = (assets(ASSETS).toList() + added.list().orEmpty()).sorted()
        val tasks = all.associateWith(::taskOf)
        return all.filter { task == null || tasks[it] == task || tasks[it] == null }.sortedBy { tasks[it] == null }
    }

    /** Open and check a bundle. Throws [EdgeException] where it is damaged, [IOException] where storage fails. */
    @Synchronized
    fun open(name: String): Bundle {
        val zip = File(added, name)
        if (zip.isFile) return Bundle.open(zip, fresh(File(copies, "$name.unpacked")))
        val folder = File(copies, name)
        if (!upToDate(name, folder)) {
            val temporary = fresh(File(copies, "$name.tmp"))
            copyAsset("$ASSETS/$name", temporary)
            folder.deleteRecursively()
            if (!temporary.renameTo(folder)) throw IOException("$name cannot be unpacked")
        }
        return try {
            Bundle.open(folder)
        } catch (error: EdgeException) {
            folder.deleteRecursively() // the copy, not the asset, may be what is damaged: the next try copies again
            throw error
        }
    }

    /** Add a bundle that was picked; it is kept only where it opens. Returns its name. */
    fun add(uri: Uri): String {
        val name = displayName(context, uri).let { if (it.endsWith(".edge")) it else "$it.edge" }.replace('/', '_')
        val temporary = File(fresh(File(copies, "adding")), name)
        (context.contentResolver.openInputStream(uri) ?: throw FileNotFoundException(name)).use { from ->
            temporary.outputStream().use { from.copyTo(it) }
        }
        Bundle.open(temporary, fresh(File(copies, "checking")))
        added.mkdirs()
        val target = File(added, name)
        target.delete()
        if (!temporary.renameTo(target)) throw IOException("$name cannot be kept")
        return name
    }

    /** Null where the manifest cannot be read: opening it will say why. */
    private fun taskOf(name: String): Task? = try {
        if (File(added, name).isFile) {
            open(name).manifest.task
        } else {
            Manifest.parse(assetManifest(name).decodeToString()).task
        }
    } catch (_: EdgeException) {
        null
    } catch (_: IOException) {
        null
    }

    /** An update of the app may bring another bundle of the same name. */
    private fun upToDate(name: String, folder: File): Boolean {
        val manifest = File(folder, "manifest.json")
        return manifest.isFile && assetManifest(name).contentEquals(manifest.readBytes())
    }

    private fun assetManifest(name: String) = context.assets.open("$ASSETS/$name/manifest.json").use { it.readBytes() }

    private fun copyAsset(path: String, target: File) {
        val children = assets(path)
        if (children.isEmpty()) {
            context.assets.open(path).use { from -> target.outputStream().use { from.copyTo(it) } }
        } else {
            target.mkdirs()
            for (child in children) copyAsset("$path/$child", File(target, child))
        }
    }

    private fun assets(path: String) = context.assets.list(path).orEmpty()

    private fun fresh(folder: File): File {
        folder.deleteRecursively()
        if (!folder.mkdirs()) throw IOException("${folder.name} cannot be created")
        return folder
    }

    private companion object {
        const val ASSETS = "bundles"
    }
}

/** The file name of what the system's picker gave. */
fun displayName(context: Context, uri: Uri): String =
    context.contentResolver.query(uri, arrayOf(OpenableColumns.DISPLAY_NAME), null, null, null)?.use {
        if (it.moveToFirst()) it.getString(0) else null
    } ?: uri.lastPathSegment ?: "?"
