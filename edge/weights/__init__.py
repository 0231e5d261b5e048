"""Trained weights that ship with the package (safetensors; see MODEL_CARD files)."""
