"""docs/extending.md names the files that there are, and the registries know what lies in their folders."""

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()


def test_every_file_that_the_page_names_is_there():
    named = re.findall(r"`((?:edge|compression|export|training|benchmarks|tests)/[\w./]+)`", PAGE)
    assert len(named) > 20
    missing = [name for name in named if "NAME" not in name and not (ROOT / name).exists()]
    assert not missing


@pytest.mark.parametrize(
    "folder",
    sorted(set(re.findall(r"`((?:edge|compression|export|training)/[\w/]+)/NAME\.py`", PAGE)) - {"edge/models"}),
)
def test_every_record_in_a_folder_is_in_its_registry(folder):
    registry = (ROOT / folder / "__init__.py").read_text()
    module = folder.replace("/", ".") if folder.startswith("edge") else f"edge.{folder.replace('/', '.')}"
    records = [file.stem for file in (ROOT / folder).glob("*.py") if file.stem not in ("__init__", "record")]
    assert len(records) >= 2 and (ROOT / folder / "record.py").is_file()
    for name in records:
        assert f"from {module}.{name} import" in registry
    assert "def register(" in registry


def test_no_model_class_is_looked_at_and_no_name_compared_outside_their_files():
    """isinstance of a network, or `== "onnx"`: knowledge that belongs in a record."""
    found = []
    for part in ("edge", "compression", "export", "training", "benchmarks"):
        # figures are told against those of fp32, whatever else there is
        names = "onnx|executorch|fp16|int8|arm64|x86" + ("|fp32" if part != "benchmarks" else "")
        for file in sorted((ROOT / part).rglob("*.py")):
            own = {"backends", "precisions", "processors", "architectures"} & set(file.parts)
            if own or file.stem in OWN:
                continue
            for number, line in enumerate(file.read_text().splitlines(), 1):
                model = re.search(r"isinstance\([^)]*\b(Enhancer|HTDemucs|Bag)\b", line)
                if model or re.search(rf'[=!]= "({names})[\w-]*"', line):
                    found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)


# Files of one backend, precision or combinator by another name than their folder's.
OWN = {
    "bag",  # of networks
    "int8",  # the policy and its two quantizers
    "int8_onnx",
    "int8_executorch",
    "to_onnx",
    "to_executorch",
    "manifest",  # what a layer's record says
    "probes",  # measure the peaks that int8 is weighed by
    "own",  # int8 and fp16 of checkpoints
    "checkpoints",
    "demucs_bag",  # what only HT Demucs networks can be the members of
}
