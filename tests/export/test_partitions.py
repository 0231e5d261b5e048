"""Parts of a graph put together: as few as can be, and never in a circle."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx
from torch.fx.passes.infra.partitioner import Partition

from edge.export.partitions import merged


def chain(*users: tuple[int, ...]) -> tuple[fx.Graph, list[fx.Node]]:
    """A graph whose node i adds up the nodes that `users[i]` names."""
    graph = fx.Graph()
    x, nodes = graph.placeholder("x"), []
    for before in users:
        nodes.append(graph.call_function(torch.add, tuple(nodes[i] for i in before) or (x,)))
    graph.output(nodes[-1])
    return graph, nodes


def parts(nodes: list[fx.Node], *members: tuple[int, ...]) -> list[Partition]:
    return [Partition(id=i, nodes=[nodes[m] for m in each]) for i, each in enumerate(members)]


def found(nodes: list[fx.Node], result: list[Partition]) -> list[list[int]]:
    return sorted(sorted(nodes.index(node) for node in part.nodes) for part in result)


def test_parts_in_a_row_become_one():
    graph, nodes = chain((), (0,), (1,), (2,))
    assert found(nodes, merged(parts(nodes, (0,), (2,), (1,), (3,)), graph)) == [[0, 1, 2, 3]]


def test_what_lies_between_two_parts_keeps_them_apart():
    graph, nodes = chain((), (0,), (1,))  # 1 is nobody's
    assert found(nodes, merged(parts(nodes, (0,), (2,)), graph)) == [[0], [2]]


def test_a_path_through_a_third_part_counts():
    # 0 -> 2 -> (3, 1) -> 4 -> 5: no node of the first part leads to the last one, but what runs between them does
    graph, nodes = chain((), (), (0,), (2,), (1,), (4,))
    assert found(nodes, merged(parts(nodes, (0,), (1, 3), (5,)), graph)) == [[0], [1, 3], [5]]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_merged_still_runs(data):
    """Every node stays in one part or in none as before, and all steps have an order."""
    size = data.draw(st.integers(2, 12))
    graph, nodes = chain(
        *(tuple(data.draw(st.sets(st.integers(0, i - 1), max_size=3))) if i else () for i in range(size))
    )
    owned = [i for i in range(size) if data.draw(st.booleans())]
    result = found(nodes, merged(parts(nodes, *((i,) for i in owned)), graph))
    assert sorted(i for part in result for i in part) == owned
    assert found(nodes, merged(parts(nodes, *map(tuple, result)), graph)) == result  # no two could be one
    step = {i: -1 - k for k, part in enumerate(result) for i in part}
    reach = {i: {nodes.index(x) for x in nodes[i].all_input_nodes if x in nodes} for i in range(size)}
    # from a part, what follows it outside never leads back into it
    for part in result:
        outside, seen = [i for i in range(size) if i not in part and reach[i] & set(part)], set()
        while outside:
            i = outside.pop()
            seen.add(i)
            for j in range(size):
                near = i in reach[j] or (step.get(i) is not None and step.get(i) == step.get(j))
                if near and j not in seen:
                    assert j not in part
                    outside.append(j)
