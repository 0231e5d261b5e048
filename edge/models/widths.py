"""Give a freshly built network the layer widths of a pruned checkpoint, read off its tensors' shapes."""

from collections.abc import Mapping

import torch
from torch import nn

from edge.models.hybrid import DConv
from edge.models.transformer import Attention


def fit_widths(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Resize every layer of `model` in place to the shapes in `state` (values are left to `load_state_dict`).

    Residual branches that `state` lacks are emptied; attention keeps as many heads as its width holds.

    Raises KeyError where `state` lacks a parameter.
    """
    for prefix, module in list(model.named_modules()):
        if isinstance(module, DConv):
            for d in range(len(module.layers)):
                if f"{prefix}.layers.{d}.0.weight" not in state:
                    module.layers[d] = nn.Sequential()
    for prefix, module in model.named_modules():
        dot = f"{prefix}." if prefix else ""
        if isinstance(module, Attention):
            width, inputs = state[f"{dot}in_proj_weight"].shape
            for proj in (module.q, module.k, module.v):
                _resize(proj, "weight", torch.Size((width // 3, inputs)))
                _resize(proj, "bias", torch.Size((width // 3,)))
            module.heads = width // 3 // module.head_dim
            continue
        for name, parameter in list(module.named_parameters(recurse=False)):
            owner = prefix.rpartition(".")[0]
            if owner and isinstance(model.get_submodule(owner), Attention) and prefix[-2:] in (".q", ".k", ".v"):
                continue
            shape = state[f"{dot}{name}"].shape
            if shape != parameter.shape:
                _resize(module, name, shape)
        if f"{dot}kept" in state:
            module.kept = state[f"{dot}kept"]
    for module in model.modules():
        _update_attributes(module)


def _resize(module: nn.Module, name: str, shape: torch.Size) -> None:
    setattr(module, name, nn.Parameter(torch.zeros(shape)))


def _update_attributes(module: nn.Module) -> None:
    """The size attributes that the layers keep beside their tensors."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d)):
        module.in_channels, module.out_channels = module.weight.shape[0], module.weight.shape[1] * module.groups
    elif isinstance(module, (nn.Conv1d, nn.Conv2d)):
        module.out_channels, module.in_channels = module.weight.shape[0], module.weight.shape[1] * module.groups
    elif isinstance(module, nn.BatchNorm1d):
        module.num_features = len(module.weight)
        module.running_mean, module.running_var = torch.zeros(len(module.weight)), torch.ones(len(module.weight))
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = module.weight.shape[0]
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.shape[0]
