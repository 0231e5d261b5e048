package org.stemedge.core

import kotlin.math.log10
import kotlin.math.max
import kotlin.math.min

/**
 * Run the bundle's golden input and compare with the output stored at export.
 *
 * Returns the SNR in dB, at most 200. Throws [EdgeException] where it is below the bundle's limit: this device, or
 * this file, does not do what was exported, and must not be trusted or timed.
 */
fun checkGolden(bundle: Bundle, format: String, graph: Graph): Double {
    val golden = bundle.manifest.golden
    val expected = golden.outputs[format]
        ?: throw EdgeException("${bundle.name}: no golden output for $format in the bundle; export it again")
    val reference = bundle.readFloats(expected.tensor)
    val input = bundle.readFloats(golden.input)
    val output = if (bundle.manifest.task == Task.SEPARATE) {
        separateGolden(bundle.manifest, input, graph)
    } else {
        enhanceGolden(bundle.manifest, input, graph)
    }
    if (output.size != reference.size) {
        throw EdgeException("${bundle.name}: golden check of $format: ${output.size} values, not ${reference.size}")
    }
    val snr = snrDb(reference, output)
    if (!(snr >= expected.minSnrDb)) { // NaN fails, too
        throw EdgeException(
            "${bundle.name}: golden check of $format failed: %.1f dB SNR, at least %.1f dB needed; ".format(
                snr,
                expected.minSnrDb,
            ) + "this device does not run the model as exported",
        )
    }
    return snr
}

/** The input tiled along time to a segment; every stride-th sample of each stem's channel. */
private fun separateGolden(m: Manifest, input: FloatArray, graph: Graph): FloatArray {
    val length = input.size / m.channels
    val mix = FloatArray(m.channels * m.segment) { i -> input[i / m.segment * length + i % m.segment % length] }
    graph.inputs[0].write(mix)
    graph.run()
    val stems = FloatArray(m.outputs[0].size)
    graph.outputs[0].read(stems)
    val kept = (m.segment + m.golden.stride - 1) / m.golden.stride
    return FloatArray(m.sources.size * m.channels * kept) { i ->
        stems[i / kept * m.segment + i % kept * m.golden.stride]
    }
}

/** The input hop by hop from zero state; every stride-th sample. */
private fun enhanceGolden(m: Manifest, input: FloatArray, graph: Graph): FloatArray {
    val states = m.states.map { FloatArray(it.size) }
    val frame = FloatArray(m.hop)
    val output = FloatArray(input.size)
    for (start in input.indices step m.hop) {
        System.arraycopy(input, start, frame, 0, m.hop)
        graph.inputs[0].write(frame)
        states.forEachIndexed { i, state -> graph.inputs[i + 1].write(state) }
        graph.run()
        graph.outputs[0].read(frame)
        states.forEachIndexed { i, state -> graph.outputs[i + 1].read(state) }
        System.arraycopy(frame, 0, output, start, m.hop)
    }
    val stride = m.golden.stride
    return FloatArray((output.size + stride - 1) / stride) { output[it * stride] }
}

/** 10 log10(|reference|^2 / |reference - estimate|^2) in dB, at most 200; NaN where a value is not finite. */
fun snrDb(reference: FloatArray, estimate: FloatArray): Double {
    require(reference.size == estimate.size)
    var signal = 0.0
    var error = 0.0
    for (i in reference.indices) {
        signal += reference[i].toDouble() * reference[i]
        error += (reference[i].toDouble() - estimate[i]).let { it * it }
    }
    if (error == 0.0) return MAX_SNR_DB
    if (!error.isFinite()) return Double.NaN
    return min(MAX_SNR_DB, 10 * log10(max(signal, 1e-30) / error))
}

private const val MAX_SNR_DB = 200.0
