"""A lowered (and perhaps quantized) module as an ExecuTorch program for XNNPACK."""

import copy
import importlib.metadata

import torch
from executorch.devtools.backend_debug import get_delegation_info
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from edge.compression.int8 import PlannedLayer, float_precision
from edge.errors import EdgeError
from edge.export.exported import Exported
from edge.export.partitions import WholePartitioner
from edge.export.quiet import quiet

# each op left to the portable kernels splits the graph; the two flips of the STFT's reflection are expected
MAX_UNDELEGATED = 8


def to_executorch(module: nn.Module, example: tuple[torch.Tensor, ...], plan: list[PlannedLayer]) -> Exported:
    """Quantize a lowered module by `plan`, export it (static shapes, batch one) and lower it to XNNPACK.

    Its `ops` are the counts of delegated ops, subgraphs and each undelegated op. Raises EdgeError where more than a few
    ops stay undelegated, which would make the program slow.
    """
    achieved = {layer.name: float_precision(module.get_submodule(layer.name)) for layer in plan}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(module).to("meta")(*(x.to("meta") for x in example))
    with quiet(), torch.no_grad():
        if any(layer.precision.startswith("int8") for layer in plan):
            from edge.compression.int8_executorch import quantize_pt2e

            module, achieved = quantize_pt2e(module, plan, example)
        program = torch.export.export(module, example, strict=False)
        lowered = to_edge_transform_and_lower(
            program,
            partitioner=[WholePartitioner()],
            # the plain cast takes a fifth of the instructions of the one that follows dimension orders
            compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
        )
        info = get_delegation_info(lowered.exported_program().graph_module)
        data = bytes(lowered.to_executorch().buffer)
    left = {
        op: counts.non_delegated
        for op, counts in info.delegation_by_operator.items()
        if counts.non_delegated and op != "getitem"
    }
    if sum(left.values()) > MAX_UNDELEGATED:
        worst = ", ".join(f"{n} {op}" for op, n in sorted(left.items(), key=lambda item: -item[1])[:4])
        raise EdgeError(f"ExecuTorch: {sum(left.values())} ops were not delegated to XNNPACK ({worst})")
    counts = {"delegated": info.num_delegated_nodes, "subgraphs": info.num_delegated_subgraphs, **left}
    share = 1 - _flops(lowered.exported_program().graph_module) / max(counter.get_total_flops(), 1)
    version = ".".join(importlib.metadata.version("executorch").split(".")[:2])  # newer ones read it too
    return Exported(data, counts, achieved, share, version)


def _flops(graph: fx.GraphModule) -> float:
    """Floating-point operations of the matrix products and convolutions that a lowered graph still has itself."""
    total = 0.0
    for node in graph.graph.nodes:
        packet = getattr(getattr(node.target, "_op", None), "overloadpacket", None)
        if packet in flop_registry:
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
            total += flop_registry[packet](*args, **kwargs, out_val=node.meta["val"])
    return total
