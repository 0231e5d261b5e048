"""Checkpoints in and out: our own safetensors files, and every form in which HT Demucs networks are saved.

- `own`: the files that stem-edge writes;
- `torch_file`: `.th`, `.pt`, `.ckpt` as tensors and plain data, nothing else is unpickled;
- `contents`: which of a file's tensors are the network, and what the file says about it;
- `settings`: what the network is: read from the file, given by the user, inferred from shapes, or asked for;
- `reader`: the four together, `load_any`;
- `demucs_bag`: several networks by demucs' YAML.
"""

from edge.checkpoints.own import checkpoint_metadata, load_checkpoint, save_checkpoint
from edge.checkpoints.reader import OFFICIAL_LICENSE, Stated, load_any

__all__ = ["OFFICIAL_LICENSE", "Stated", "checkpoint_metadata", "load_any", "load_checkpoint", "save_checkpoint"]
