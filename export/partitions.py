"""XNNPACK's share of a graph in few parts, of which no two could be one.

Each part plans memory of its own, and what passes from one to the next lives in the program's planned memory beside it.
ExecuTorch's partitioner tries each pair of parts once, in one order, and leaves a graph of dynamic int8 Linears in
several that could be one.
"""

import itertools
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from torch import fx
from torch.export import ExportedProgram
from torch.fx.passes.infra.partitioner import Partition


class WholePartitioner(XnnpackPartitioner):
    """XnnpackPartitioner whose parts are merged until no two can be."""

    def generate_partitions(self, ep: ExportedProgram) -> list[Partition]:
        return merged(super().generate_partitions(ep), ep.graph)


def merged(parts: Sequence[Partition], graph: fx.Graph) -> list[Partition]:
    """`parts` of `graph` put together, pair by pair, where what is left of the graph can still run in some order."""
    of = {node: i for i, part in enumerate(parts) for node in part.nodes}
    left = {i: part for i, part in enumerate(parts)}
    found = True
    while found:
        found = False
        for a, b in itertools.combinations(left, 2):
            joined = of | dict.fromkeys(left[b].nodes, a)
            if _runs(graph, joined):
                of, found = joined, True
                left[a] = Partition(id=left[a].id, nodes=[*left[a].nodes, *left[b].nodes])
                del left[b]
                break
    return list(left.values())


def _runs(graph: fx.Graph, part: dict[fx.Node, int]) -> bool:
    """Whether the graph has an order to run in where each part is one step."""
    needs: dict[fx.Node | int, set[fx.Node | int]] = {}
    for node in graph.nodes:
        step = part.get(node, node)
        needs.setdefault(step, set()).update({part.get(x, x) for x in node.all_input_nodes} - {step})
    try:
        TopologicalSorter(needs).prepare()
    except CycleError:
        return False
    return True
