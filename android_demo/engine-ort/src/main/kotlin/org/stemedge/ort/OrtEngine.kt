package org.stemedge.ort

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtLoggingLevel
import ai.onnxruntime.OrtSession
import ai.onnxruntime.OrtSession.SessionOptions
import ai.onnxruntime.TensorInfo
import org.stemedge.core.Bundle
import org.stemedge.core.EdgeException
import org.stemedge.core.Engine
import org.stemedge.core.Graph
import org.stemedge.core.Task
import org.stemedge.core.TensorSpec
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer

/**
 * ONNX graphs on ONNX Runtime's processor kernels; the same code runs on Android and on a desktop JVM.
 *
 * Set ORT_DISABLE_TELEMETRY=1 in the process's environment before the first call: it is read when the library loads.
 */
class OrtEngine : Engine {
    override val format = "onnx"
    override val version get() = "onnxruntime" to OrtEnvironment.getEnvironment().version

    override fun load(bundle: Bundle, threads: Int): Graph {
        val file = bundle.graphFile(format)
        try {
            val session = SessionOptions().use { options ->
                options.setIntraOpNumThreads(threads)
                options.setInterOpNumThreads(1)
                // as edge-run does: int8 rounds otherwise where the float parts before it are computed otherwise
                options.addConfigEntry("optimization.disable_specified_optimizers", "NchwcTransformer;NhwcTransformer")
                // products of unsigned and signed int8 overflow in 16 bits on x86 without VNNI; no effect elsewhere
                options.addConfigEntry("session.x64quantprecision", "1")
                // Segments: their activations are most of the memory, and a pattern holds them once more beside what the
                // first run took. The rest of what edge-run sets (docs/memory.md) the Java API does not reach.
                if (bundle.manifest.task == Task.SEPARATE) options.setMemoryPatternOptimization(false)
                options.setSessionLogLevel(OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL) // failures come as exceptions
                OrtEnvironment.getEnvironment().createSession(file.path, options)
            }
            try {
                return OrtGraph(file, session, bundle)
            } catch (error: EdgeException) {
                session.close()
                throw error
            }
        } catch (error: OrtException) {
            throw EdgeException("${bundle.name}: ${file.name} does not load: ${line(error)}", error)
        } catch (error: UnsatisfiedLinkError) {
            throw EdgeException("ONNX Runtime's library does not load on this device: ${line(error)}", error)
        }
    }
}

private class OrtGraph(private val file: File, private val session: OrtSession, bundle: Bundle) : Graph {
    private val inputTensors = LinkedHashMap<String, OnnxTensor>()
    private val outputTensors = LinkedHashMap<String, OnnxTensor>()
    override val inputs: List<FloatBuffer>
    override val outputs: List<FloatBuffer>

    init {
        val manifest = bundle.manifest
        check(bundle, "inputs", manifest.inputs, session.inputInfo.mapValues { it.value.info })
        check(bundle, "outputs", manifest.outputs, session.outputInfo.mapValues { it.value.info })
        inputs = manifest.inputs.map { allocate(it, inputTensors) }
        outputs = manifest.outputs.map { allocate(it, outputTensors) }
    }

    // The tensors wrap our buffers: nothing is copied or allocated in a run.
    override fun run() {
        try {
            session.run(inputTensors, outputTensors).close()
        } catch (error: OrtException) {
            throw EdgeException("${file.name} failed in ONNX Runtime: ${line(error)}", error)
        }
    }

    override fun close() {
        (inputTensors.values + outputTensors.values).forEach { it.close() }
        session.close()
    }

    private fun allocate(spec: TensorSpec, into: MutableMap<String, OnnxTensor>): FloatBuffer {
        val buffer = ByteBuffer.allocateDirect(4 * spec.size).order(ByteOrder.nativeOrder()).asFloatBuffer()
        val shape = LongArray(spec.shape.size) { spec.shape[it].toLong() }
        into[spec.name] = OnnxTensor.createTensor(OrtEnvironment.getEnvironment(), buffer, shape)
        return buffer
    }

    private fun check(bundle: Bundle, what: String, wanted: List<TensorSpec>, found: Map<String, Any>) {
        val shapes = found.mapValues { (it.value as? TensorInfo)?.shape?.map(Long::toInt) }
        if (shapes != wanted.associate { it.name to it.shape }) {
            throw EdgeException(
                "${bundle.name}: ${file.name} is not the model that the manifest describes (other $what); " +
                    "export the bundle again",
            )
        }
    }
}

private fun line(error: Throwable): String =
    (error.message ?: error.javaClass.simpleName).split(Regex("\\s+")).joinToString(" ").take(300)
