"""PyTorch files as tensors and plain data: no class that a file names is ever built, none of its code runs.

`torch.load(weights_only=True)` does the same for state dicts, but refuses other pickle protocols, and the classes that
demucs' packages name in files of torch before 1.6.
"""

from __future__ import annotations

import pickle
import tarfile
import types
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import torch

from edge.errors import InputError

_MAX_EXPANSION = 20  # of a compressed archive


class Placeholder:
    """Stands in for an object of a class that a file names: what it was made of and its state, as plain data."""

    path = ""  # full name of the class
    args: tuple
    state: Any
    entries: dict
    elements: list

    def __new__(cls, *args: Any, **kwargs: Any) -> Placeholder:
        # a class within a class is an object to pickle: what it looked up in the outer one
        self = object.__new__(cls if isinstance(cls, type) else Placeholder)
        self.args = args
        self.state = None
        self.entries = {}
        self.elements = []
        return self

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries[key] = value

    def __call__(self, *args: Any) -> Placeholder:
        return Placeholder(*args)

    def append(self, element: Any) -> None:
        self.elements.append(element)

    def extend(self, elements: Sequence) -> None:
        self.elements.extend(elements)


def class_path(value: Any) -> str:
    """Full name of the class that a placeholder, or an object of it, stands for; "" for anything else."""
    named = isinstance(value, Placeholder) or (isinstance(value, type) and issubclass(value, Placeholder))
    return value.path if named else ""


def read_torch(path: Path) -> Any:
    """What `torch.save` wrote to `path`, zip or legacy: tensors on the CPU, and a `Placeholder` for all other objects.

    Raises InputError where it is no such file, or damaged.
    """
    try:
        limits = _record_sizes(path)

        class Unpickler(_PlainUnpickler):
            sizes, total = limits, path.stat().st_size

        module = types.ModuleType("plain_pickle")  # torch.load takes what looks like `pickle`
        module.Unpickler = Unpickler  # type: ignore[attr-defined]
        module.load = lambda file, **options: Unpickler(file, **options).load()  # type: ignore[attr-defined]
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", pickle_module=module, weights_only=False)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # foreign bytes fail in as many ways as an unpickler has lines
        raise InputError(f"{path}: not a readable PyTorch checkpoint (damaged, or not a checkpoint at all)") from error


def _record_sizes(path: Path) -> dict[str, int] | None:
    """Bytes of each tensor's record in a zip file, by its key; None for a legacy file."""
    if not zipfile.is_zipfile(path):
        if tarfile.is_tarfile(path):
            raise InputError(f"{path}: a checkpoint of PyTorch 0.1; load and save it again with a newer one")
        return None
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    if any(info.filename.endswith("/constants.pkl") for info in infos):
        raise InputError(f"{path}: a TorchScript program, whose settings cannot be read; give the state dict")
    if sum(info.file_size for info in infos) > _MAX_EXPANSION * path.stat().st_size:
        raise InputError(f"{path}: a damaged checkpoint (its archive claims more than it holds)")
    return {info.filename.rpartition("/data/")[2]: info.file_size for info in infos if "/data/" in info.filename}


class _PlainUnpickler(pickle._Unpickler):  # the one in Python: the one in C allocates what a file's indices claim
    """Builds tensors, containers and fractions; `find_class` gives a placeholder for every other name."""

    sizes: dict[str, int] | None = None
    total = 0
    # of the base class, where load() sets them; torch sets its persistent_load
    stack: list
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: Any, **options: Any):
        super().__init__(file, **options)

        def read(size: int) -> bytes:
            if size > self.total:  # Python would allocate any length that a pickle claims
                raise pickle.UnpicklingError("a value is longer than the file")
            return file.read(size)

        self._file_read = read

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in _BUILT:
            return _BUILT[full]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return type("Named", (Placeholder,), {"path": full})

    def load_build(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Placeholder):
            self.stack[-1].state = state

    def load_binpersid(self) -> None:
        identity = self.stack.pop()
        if identity[0] == "storage":
            _, kind, key, _, numel, *_ = identity
            size = self.total if self.sizes is None else self.sizes[key]
            if not 0 <= numel * torch._utils._element_size(kind.dtype) <= size:
                raise pickle.UnpicklingError("a tensor is larger than its record")
        self.append(self.persistent_load(identity))

    def load_bytearray8(self) -> None:
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.BINPERSID[0]] = load_binpersid
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


def _tensor(storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any) -> torch.Tensor:
    """A view of a loaded storage; ValueError where it would reach beyond, for which torch would allocate."""
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or (0 not in size and last >= storage.size()):
        raise ValueError("a tensor beyond its storage")
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage, offset, tuple(size), tuple(stride))


def _parameter(data: torch.Tensor, *_: Any) -> torch.Tensor:
    return data


def _subclass(rebuild: Callable, kind: Any, args: tuple, state: Any) -> Any:
    return rebuild(*args)


def _plain_dict(*_: Any) -> dict:
    return {}


_BUILT: dict[str, Callable] = {
    "collections.OrderedDict": OrderedDict,
    "collections.defaultdict": _plain_dict,
    "fractions.Fraction": Fraction,
    "torch.Size": torch.Size,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _subclass,
}
