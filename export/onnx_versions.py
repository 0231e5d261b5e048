"""The oldest runtime that an ONNX graph needs: the lowest opset and IR version that say the same, node names, notes."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import onnx
from onnx import defs, helper

from edge.errors import EdgeError

MAX_BYTES = 2**31 - 1  # of one protocol buffer

# Operators whose later versions only take more types, or more inputs and attributes than a graph of ours has: the
# version from which on they mean the same.
_SAME_SINCE = {
    "AveragePool": 11,
    "BatchNormalization": 15,
    "Cast": 13,
    "Concat": 13,
    "Constant": 13,
    "DequantizeLinear": 13,
    "Equal": 13,
    "Flatten": 13,
    "Identity": 13,
    "Pad": 13,
    "QuantizeLinear": 13,
    "Reshape": 13,
    "Shape": 13,
    "Split": 13,
    "Squeeze": 13,
    "Transpose": 13,
    "Unsqueeze": 13,
}
_LATER_ATTRIBUTES = {"num_outputs", "saturate", "output_dtype", "block_size", "allowzero", "dilations", "start", "end"}
_OLDEST_OPSET = 13
# ONNX Runtime's first release with each opset (its compatibility table).
_RUNTIMES = {13: "1.7", 14: "1.8", 15: "1.10", 16: "1.11", 17: "1.12", 18: "1.14", 19: "1.15", 20: "1.17", 21: "1.18"}


def lower_versions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Declare, in place, the lowest opset in which every node means the same, and the lowest IR version that has it."""
    for node in model.graph.node:  # older schemas have not even the empty places of inputs that came later
        while node.input and not node.input[-1]:
            node.input.pop()
    used = {_domain(node.domain) for node in model.graph.node} | {""}
    versions = {_domain(entry.domain): entry.version for entry in model.opset_import}
    declared = versions[""]
    lowest = next(
        version
        for version in range(_OLDEST_OPSET, declared + 1)
        if all(_means_the_same(node, version, declared) for node in model.graph.node)
    )
    versions[""] = lowest
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(name, versions[name]) for name in sorted(used))
    least = helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
    model.ir_version = max(least, 8) if model.functions else least  # functions came with 8
    onnx.checker.check_model(model, full_check=True)
    return model


def least_runtime(model: onnx.ModelProto) -> str:
    """The first release of ONNX Runtime that reads this graph."""
    version = next(entry.version for entry in model.opset_import if not _domain(entry.domain))
    return _RUNTIMES.get(version, "1.22")


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


@functools.cache
def _since(op_type: str, version: int) -> int | None:
    """The opset in which an operator got the form that it has in `version`; None where it is not there yet."""
    try:
        return defs.get_schema(op_type, version, "").since_version
    except defs.SchemaError:
        return None


def _means_the_same(node: onnx.NodeProto, version: int, declared: int) -> bool:
    if _domain(node.domain):
        return True  # a version of its own
    older = _since(node.op_type, version)
    if older is None or older == _since(node.op_type, declared):
        return older is not None
    if older < _SAME_SINCE.get(node.op_type, declared) or any(a.name in _LATER_ATTRIBUTES for a in node.attribute):
        return False
    return node.op_type != "Pad" or version >= 18 or not any(node.input[3:])  # axes came with 18


def readable_names(model: onnx.ModelProto) -> None:
    """Name every node, in place, after the module that the exporter notes in it, and its operator: each name once."""
    taken: Counter[str] = Counter()
    for node in model.graph.node:
        scopes = {p.key: p.value for p in node.metadata_props}.get("pkg.torch.onnx.name_scopes", "")
        path = [part.strip(" '\"") for part in scopes.strip("[]").split(",")]
        module = path[-2] if len(path) > 1 else ""
        name = f"{module}/{node.op_type}" if module else node.op_type
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"


def with_properties(data: bytes, properties: Mapping[str, Any]) -> bytes:
    """A serialized model with metadata properties (text, or JSON of anything else); EdgeError beyond 2 GB."""
    model = onnx.load_model_from_string(data)
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in properties.items()}
    helper.set_model_props(model, texts)
    if model.ByteSize() > MAX_BYTES:
        raise EdgeError(f"the ONNX graph has {model.ByteSize() / 1e9:.1f} GB, a file holds 2: prune it, or use int8")
    return model.SerializeToString()
