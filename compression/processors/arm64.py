"""64-bit ARM cores with fp16 arithmetic and byte dot products (ARMv8.2)."""

from edge.compression.processors.record import ALWAYS, BreakEven, Processor

ARM64 = Processor(
    "arm64",
    {
        ("onnx", "linear"): BreakEven(24, 40_000),
        ("onnx", "conv"): BreakEven(24, 40_000),
        ("executorch", "linear"): BreakEven(16, 20_000),
        ("executorch", "conv"): ALWAYS,
        ("executorch", "conv_transpose"): ALWAYS,
    },
    half=True,
)
