"""stem-edge: HT Demucs and a causal speech enhancer, compressed, exported and streamed on the edge.

Importing `edge` and everything under `edge.runtime` needs no torch; `edge.models`, `edge.compression`,
`edge.export` and `edge.training` are the workbench and do.
"""

__version__ = "0.1.0"
