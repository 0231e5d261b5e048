"""x86-64 with AVX2 or AVX-512."""

from edge.compression.processors.record import BreakEven, Processor

X86 = Processor(
    "x86",
    {
        ("executorch", "linear"): BreakEven(8, 10_000),
        ("executorch", "conv"): BreakEven(40, 0),
        ("executorch", "conv_transpose"): BreakEven(40, 0),
    },
)
