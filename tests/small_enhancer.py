"""An enhancer of every part and few channels."""

from edge.models.enhancer import EnhancerConfig

SMALL = EnhancerConfig(
    hop=64,
    stride=4,
    channels=12,
    growth=8,
    bands=8,
    width=12,
    mix_heads=2,
    attention=16,
    heads=2,
    attention_window=9,
    ffn=24,
    time_channels=(8, 12),
)
