package org.stemedge.demo

import android.app.Activity
import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.os.Handler
import android.os.Looper
import android.provider.DocumentsContract
import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.ProgressBar
import android.widget.SeekBar
import android.widget.Spinner
import android.widget.TextView
import android.widget.ToggleButton
import org.stemedge.core.Task
import java.io.File
import java.io.FileNotFoundException

/** Picks a song, shows the progress of [SeparationJob], plays and saves its stems. */
class SeparateActivity : Activity() {
    private val message by lazy { findViewById<TextView>(R.id.message) }
    private val pick by lazy { findViewById<Button>(R.id.pick) }
    private val cancel by lazy { findViewById<Button>(R.id.cancel) }
    private val progress by lazy { findViewById<ProgressBar>(R.id.progress) }
    private val stems by lazy { findViewById<ViewGroup>(R.id.stems) }
    private val position by lazy { findViewById<SeekBar>(R.id.position) }
    private val play by lazy { findViewById<Button>(R.id.play) }
    private val save by lazy { findViewById<Button>(R.id.save) }
    private val clock = Handler(Looper.getMainLooper())
    private val show: (Separation) -> Unit = ::show
    private val showPlaying: (Boolean) -> Unit = { on ->
        play.setText(if (on) R.string.separate_pause else R.string.separate_play)
    }
    private val showMessage: (String) -> Unit = { if (it.isNotEmpty()) message.text = it }
    private var shown: Separation.Done? = null
    private var chosen: String? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_separate)
        pick.setOnClickListener { pick(openDocument("audio/*"), PICK) { message.text = it } }
        cancel.setOnClickListener { demo.separation.cancel() }
        play.setOnClickListener { shown?.player?.run { if (playing.value) pause() else play() } }
        save.setOnClickListener { pick(Intent(Intent.ACTION_OPEN_DOCUMENT_TREE), SAVE) { message.text = it } }
        position.setOnSeekBarChangeListener(object : SeekBar.OnSeekBarChangeListener {
            override fun onProgressChanged(bar: SeekBar, value: Int, byUser: Boolean) {
                if (byUser) shown?.player?.seek(value / 1000.0)
            }

            override fun onStartTrackingTouch(bar: SeekBar) = Unit

            override fun onStopTrackingTouch(bar: SeekBar) = Unit
        })
        inBackground({ demo.bundles.names(Task.SEPARATE) }, { message.text = it }) { names ->
            if (names.isEmpty()) message.setText(R.string.no_fitting_bundle)
            findViewById<Spinner>(R.id.bundle).show(names) {
                chosen = it
                show(demo.separation.state.value)
            }
        }
    }

    override fun onStart() {
        super.onStart()
        demo.separation.state.watch(show)
        followPosition()
    }

    override fun onStop() {
        demo.separation.state.unwatch(show)
        forget()
        clock.removeCallbacksAndMessages(null)
        if (!isChangingConfigurations) (demo.separation.state.value as? Separation.Done)?.player?.pause()
        super.onStop()
    }

    @Deprecated("its successor is in androidx, which this app does without")
    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        val uri = data?.data ?: return
        if (resultCode != RESULT_OK) return
        when (requestCode) {
            PICK -> chosen?.let { demo.separation.start(uri, it) }
            SAVE -> saveTo(uri)
        }
    }

    private fun show(state: Separation) {
        val running = state is Separation.Running
        pick.isEnabled = !running && chosen != null
        cancel.visible(running)
        progress.visible(running, otherwise = View.INVISIBLE)
        when (state) {
            is Separation.Idle -> if (chosen != null) message.text = state.message
            is Separation.Running -> {
                progress.progress = (1000 * state.share).toInt()
                message.text = text(R.string.separate_progress, state.title, (100 * state.share).toInt())
            }
            is Separation.Done -> message.text = state.message
        }
        val done = state as? Separation.Done
        for (view in listOf(position, play, save)) view.visible(done != null)
        if (done === shown) return
        forget()
        shown = done
        stems.removeAllViews()
        if (done == null) return
        done.player.playing.watch(showPlaying)
        done.player.message.watch(showMessage)
        done.stems.forEachIndexed { i, file -> addStem(done.player, i, file.nameWithoutExtension) }
    }

    private fun addStem(player: StemPlayer, index: Int, source: String) {
        val row = LayoutInflater.from(this).inflate(R.layout.item_stem, stems, false)
        row.findViewById<TextView>(R.id.name).text = source
        row.findViewById<ToggleButton>(R.id.mute).apply {
            contentDescription = text(R.string.separate_mute_of, source)
            isSaveEnabled = false // the rows are made anew; the mixer knows
            isChecked = player.mixer.isMuted(index)
            setOnCheckedChangeListener { _, on -> player.mixer.mute(index, on) }
        }
        row.findViewById<ToggleButton>(R.id.solo).apply {
            contentDescription = text(R.string.separate_solo_of, source)
            isSaveEnabled = false
            isChecked = player.mixer.isSoloed(index)
            setOnCheckedChangeListener { _, on -> player.mixer.solo(index, on) }
        }
        stems.addView(row)
    }

    private fun forget() {
        shown?.player?.playing?.unwatch(showPlaying)
        shown?.player?.message?.unwatch(showMessage)
        shown = null
    }

    private fun followPosition() {
        shown?.let { if (!position.isPressed) position.progress = (1000 * it.player.position).toInt() }
        clock.postDelayed(::followPosition, 200)
    }

    private fun saveTo(tree: Uri) {
        val files = (demo.separation.state.value as? Separation.Done)?.stems ?: return
        save.isEnabled = false
        val finish = { text: String ->
            save.isEnabled = true
            message.text = text
        }
        inBackground({ files.forEach { copy(it, tree) } }, { finish(text(R.string.separate_not_saved, it)) }) {
            finish(text(R.string.separate_saved, files.size))
        }
    }

    private fun copy(file: File, tree: Uri) {
        val folder = DocumentsContract.buildDocumentUriUsingTree(tree, DocumentsContract.getTreeDocumentId(tree))
        val target = DocumentsContract.createDocument(contentResolver, folder, "audio/x-wav", file.name)
        val stream = target?.let { contentResolver.openOutputStream(it) } ?: throw FileNotFoundException(file.name)
        stream.use { to -> file.inputStream().use { it.copyTo(to) } }
    }

    private companion object {
        const val PICK = 1
        const val SAVE = 2
    }
}
