package org.stemedge.executorch

import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor
import org.stemedge.core.Bundle
import org.stemedge.core.EdgeException
import org.stemedge.core.Engine
import org.stemedge.core.Graph
import org.stemedge.core.TensorSpec
import org.stemedge.core.write
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer

/** ExecuTorch programs (XNNPACK on the processor); optional, for its libraries are large. */
class ExecutorchEngine : Engine {
    override val format = "executorch"

    // The AAR says no version of its own: keep this equal to the pin in gradle/libs.versions.toml.
    override val version = "executorch" to "1.0.1"

    override fun load(bundle: Bundle, threads: Int): Graph {
        val file = bundle.graphFile(format)
        try {
            return ExecutorchGraph(bundle, Module.load(file.path, Module.LOAD_MODE_MMAP, threads))
        } catch (error: RuntimeException) {
            throw EdgeException("${bundle.name}: ${file.name} does not load: ${error.message}", error)
        } catch (error: UnsatisfiedLinkError) {
            throw EdgeException("ExecuTorch's library does not load on this device: ${error.message}", error)
        }
    }
}

private class ExecutorchGraph(private val bundle: Bundle, private val module: Module) : Graph {
    override val inputs: List<FloatBuffer> = bundle.manifest.inputs.map(::allocate)
    override val outputs: List<FloatBuffer> = bundle.manifest.outputs.map(::allocate)

    // The tensors wrap the input buffers; programs take and give tensors by position.
    private val arguments = Array(inputs.size) { i ->
        EValue.from(Tensor.fromBlob(inputs[i], bundle.manifest.inputs[i].shape.map(Int::toLong).toLongArray()))
    }

    override fun run() {
        val results = try {
            module.forward(*arguments)
        } catch (error: RuntimeException) {
            throw EdgeException("${bundle.name}: the graph failed in ExecuTorch: ${error.message}", error)
        }
        val shapes = results.map { it.toTensor().shape().map(Long::toInt) }
        if (shapes != bundle.manifest.outputs.map { it.shape }) {
            throw EdgeException("${bundle.name}: the graph is not the one that the manifest describes")
        }
        for (i in outputs.indices) outputs[i].write(results[i].toTensor().dataAsFloatArray)
    }

    override fun close() = module.destroy()

    private fun allocate(spec: TensorSpec): FloatBuffer =
        ByteBuffer.allocateDirect(4 * spec.size).order(ByteOrder.nativeOrder()).asFloatBuffer()
}
