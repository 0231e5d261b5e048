"""The CRNN/TAT speech enhancer."""

from edge.models.enhancer.network import LEVEL_FLOOR, POWER_FLOOR, Enhancer, EnhancerConfig, State

__all__ = ["LEVEL_FLOOR", "POWER_FLOOR", "Enhancer", "EnhancerConfig", "State"]
