"""x86-64 with AVX2 or AVX-512."""

from edge.compression.processors.record import ALWAYS, BreakEven, Processor

X86 = Processor(
    "x86",
    {
        ("executorch", "linear"): ALWAYS,
        ("executorch", "conv"): BreakEven(40, 0),
        ("executorch", "conv_transpose"): BreakEven(40, 0),
    },
)
