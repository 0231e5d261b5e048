package org.stemedge.core

import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.util.Random
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream

class BundleTest {
    @get:Rule
    val folder = TemporaryFolder()

    @Test
    fun opensFoldersAndZips() {
        assertEquals("fake", Bundle.open(write()).name)
        val scratch = folder.newFolder()
        val bundle = Bundle.open(zip(), scratch)
        assertEquals(1000L, bundle.graphFile("onnx").length())
        assertTrue("executorch" in messageOf { bundle.graphFile("executorch") })
    }

    @Test
    fun filesThatAreNotListedAreIgnoredAndNeverUnpacked() {
        val scratch = folder.newFolder()
        Bundle.open(zip(extra = mapOf("../evil" to ByteArray(3), "more.txt" to ByteArray(3))), scratch)
        assertFalse(File(scratch.parentFile, "evil").exists())
        assertFalse(File(scratch, "more.txt").exists())
    }

    @Test
    fun corruptFilesAreNamed() {
        for (asZip in listOf(false, true)) {
            val message = messageOf { open(asZip, mapOf("model.onnx" to ByteArray(1000).also { it[500] = 1 })) }
            assertTrue(message, "model.onnx is damaged" in message)
        }
    }

    @Test
    fun truncatedAndOverlongFilesAreNamed() {
        for (asZip in listOf(false, true)) {
            for (size in listOf(0, 999, 1001)) {
                val message = messageOf { open(asZip, mapOf("model.onnx" to ByteArray(size))) }
                assertTrue(message, "model.onnx has not the 1000 bytes" in message)
            }
        }
    }

    @Test
    fun missingFilesAreNamed() {
        for (asZip in listOf(false, true)) {
            val message = messageOf { open(asZip, mapOf("golden/onnx.f32" to null)) }
            assertTrue(message, "golden/onnx.f32 is missing" in message)
        }
    }

    @Test
    fun anotherVersionIsRefused() {
        val message = messageOf { Bundle.open(write(separatorJson().put("format_version", "3.1"))) }
        assertTrue(message, "3.1 is not supported" in message)
    }

    @Test
    fun whatIsNoBundleIsRefused() {
        val scratch = folder.newFolder()
        assertTrue("no such bundle" in messageOf { Bundle.open(File(folder.root, "nowhere"), scratch) })
        assertTrue("no manifest.json" in messageOf { Bundle.open(folder.newFolder(), scratch) })
        val text = folder.newFile("song.mp3").apply { writeText("no zip at all") }
        assertTrue("not a bundle" in messageOf { Bundle.open(text, scratch) })
        assertTrue("not a bundle" in messageOf { Bundle.open(folder.newFile(), scratch) })
    }

    /** A zip cut off or changed anywhere is refused with a sentence, or whole where the change does not matter. */
    @Test
    fun damagedZipsNeverCrash() {
        val whole = zip().readBytes()
        val random = Random(3)
        val damaged = folder.newFile("damaged.edge")
        repeat(200) { i ->
            val content = if (i % 2 == 0) whole.copyOf(random.nextInt(whole.size)) else whole.clone().also {
                it[random.nextInt(it.size)] = random.nextInt().toByte()
            }
            damaged.writeBytes(content)
            try {
                Bundle.open(damaged, folder.newFolder())
            } catch (error: EdgeException) {
                assertTrue(error.message.startsWith("damaged.edge: "))
            }
        }
    }

    @Test
    fun theWrongTaskIsNamed() {
        val message = messageOf { Bundle.open(write()).require(Task.ENHANCE) }
        assertTrue(message, "separates music" in message && "choose a bundle that enhances" in message)
    }

    private fun open(asZip: Boolean, changes: Map<String, ByteArray?>): Bundle {
        val files = contents(separatorJson()).toMutableMap()
        for ((name, content) in changes) if (content == null) files.remove(name) else files[name] = content
        return if (asZip) Bundle.open(zip(files), folder.newFolder()) else Bundle.open(write(files = files))
    }

    private fun write(json: JSONObject = separatorJson(), files: Map<String, ByteArray> = contents(json)): File {
        val root = folder.newFolder()
        for ((name, content) in files + ("manifest.json" to json.toString().toByteArray())) {
            File(root, name).apply { parentFile.mkdirs() }.writeBytes(content)
        }
        return root
    }

    private fun zip(
        files: Map<String, ByteArray> = contents(separatorJson()),
        extra: Map<String, ByteArray> = emptyMap(),
    ): File {
        val file = folder.newFile()
        ZipOutputStream(file.outputStream()).use { zip ->
            val manifest = "manifest.json" to separatorJson().toString().toByteArray()
            for ((name, content) in files + extra + manifest) {
                zip.putNextEntry(ZipEntry(name))
                zip.write(content)
            }
        }
        return file
    }
}
