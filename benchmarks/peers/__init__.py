"""Other people's enhancers and separators, each in an environment and a process of its own, measured like ours.

`python -m edge.benchmarks.peers install` makes the environments, `run` measures, `list` says what is there.
"""
