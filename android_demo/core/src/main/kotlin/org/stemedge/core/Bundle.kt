package org.stemedge.core

import java.io.File
import java.io.FileInputStream
import java.io.IOException
import java.io.InputStream
import java.io.OutputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.charset.CharacterCodingException
import java.security.MessageDigest
import java.util.zip.ZipException
import java.util.zip.ZipFile

private const val MAX_MANIFEST_BYTES = 16L shl 20

/** An opened bundle: every file that its manifest lists is in [folder] and has the right SHA-256. */
class Bundle(val folder: File, val manifest: Manifest) {
    val name: String get() = manifest.name

    /** The graph file of [format] ("onnx" or "executorch"). Throws [EdgeException] where the bundle has none. */
    fun graphFile(format: String): File {
        val graphs = manifest.graphs
        val graph = graphs[format]
            ?: throw EdgeException("$name: no $format graph in the bundle (it has ${graphs.keys.joinToString()})")
        return File(folder, graph.file)
    }

    /** A raw little-endian float32 file of the bundle. */
    fun readFloats(tensor: RawTensor): FloatArray {
        val bytes = File(folder, tensor.file).readBytes()
        val floats = FloatArray(bytes.size / 4)
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(floats)
        return floats
    }

    /** Throws [EdgeException] unless the bundle does [task]. */
    fun require(task: Task): Bundle = also {
        if (manifest.task != task) {
            val does = if (manifest.task == Task.ENHANCE) "enhances speech" else "separates music"
            val wanted = if (task == Task.ENHANCE) "enhances speech" else "separates music"
            throw EdgeException("$name $does; choose a bundle that $wanted")
        }
    }

    companion object {
        /**
         * Open a bundle folder, or a `NAME.edge` zip, of which the listed files are unpacked into [scratch].
         *
         * Every listed file is checked (size, SHA-256) before anything runs it. Throws [EdgeException] where it is
         * no bundle, malformed, of another format version, incomplete or damaged.
         */
        fun open(path: File, scratch: File? = null): Bundle = try {
            when {
                path.isDirectory -> openFolder(path)
                path.isFile -> openZip(path, requireNotNull(scratch) { "a zip needs a folder to be unpacked into" })
                else -> throw EdgeException("no such bundle")
            }
        } catch (error: EdgeException) {
            throw EdgeException("${path.name}: ${error.message}", error)
        } catch (error: ZipException) {
            throw EdgeException("${path.name}: not a bundle, or damaged (${error.message}); copy it again", error)
        } catch (error: IOException) {
            throw EdgeException("${path.name}: cannot be read (${error.message})", error)
        }

        private fun openFolder(folder: File): Bundle {
            val file = File(folder, "manifest.json")
            if (!file.isFile) throw EdgeException("not a bundle (no manifest.json in it)")
            val manifest = FileInputStream(file).use(::parse)
            for ((name, record) in manifest.files) {
                val listed = File(folder, name)
                if (!listed.isFile) missing(name)
                FileInputStream(listed).use { check(name, record, it, null) }
            }
            return Bundle(folder, manifest)
        }

        private fun openZip(path: File, scratch: File): Bundle = ZipFile(path).use { zip ->
            val entry = zip.getEntry("manifest.json") ?: throw EdgeException("not a bundle (no manifest.json in it)")
            val manifest = zip.getInputStream(entry).use(::parse)
            if (manifest.files.values.sumOf { it.bytes } > scratch.apply { mkdirs() }.usableSpace) {
                throw EdgeException("not enough free storage to unpack it; free some and try again")
            }
            for ((name, record) in manifest.files) { // only listed paths, which are checked, are ever written
                val packed = zip.getEntry(name) ?: missing(name)
                val target = File(scratch, name)
                target.parentFile!!.mkdirs()
                zip.getInputStream(packed).use { from -> target.outputStream().use { check(name, record, from, it) } }
            }
            Bundle(scratch, manifest)
        }

        private fun parse(stream: InputStream): Manifest {
            val content = stream.readAtMost(MAX_MANIFEST_BYTES + 1)
            if (content.size > MAX_MANIFEST_BYTES) throw EdgeException("malformed manifest.json: larger than 16 MB")
            try {
                return Manifest.parse(Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(content)).toString())
            } catch (error: CharacterCodingException) {
                throw EdgeException("malformed manifest.json: it is not UTF-8 text", error)
            }
        }

        /** Compare size and SHA-256, reading no more than one block beyond the listed size; copy on the way. */
        private fun check(name: String, record: FileRecord, from: InputStream, copy: OutputStream?) {
            val digest = MessageDigest.getInstance("SHA-256")
            val block = ByteArray(1 shl 16)
            var size = 0L
            while (size <= record.bytes) {
                val count = from.read(block)
                if (count < 0) break
                digest.update(block, 0, count)
                copy?.write(block, 0, count)
                size += count
            }
            if (size != record.bytes) {
                throw EdgeException("$name has not the ${record.bytes} bytes that the manifest lists; copy it again")
            }
            if (digest.digest().joinToString("") { "%02x".format(it) } != record.sha256) {
                throw EdgeException("$name is damaged (its SHA-256 differs from the manifest); copy it again")
            }
        }

        private fun missing(name: String): Nothing =
            throw EdgeException("$name is missing from the bundle; export or copy it again")
    }
}

private fun InputStream.readAtMost(limit: Long): ByteArray {
    val out = java.io.ByteArrayOutputStream()
    val block = ByteArray(1 shl 16)
    while (out.size() < limit) {
        val count = read(block)
        if (count < 0) break
        out.write(block, 0, count)
    }
    return out.toByteArray()
}
