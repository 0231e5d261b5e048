"""The public names of `edge`, and the Python that README and docs show, run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import GAINS

import edge
from edge.errors import InputError

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/runtime.md"]
SHOWN = re.compile(r"```python\n(.*?)```", re.DOTALL)
BLOCKS = [(page, block) for page in PAGES for block in SHOWN.findall((ROOT / page).read_text())]


def test_importing_edge_is_light():
    code = "import sys, edge; print(len({'numpy', 'onnxruntime', 'soundfile'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "0"
    assert set(edge.__all__) <= set(dir(edge)) and all(getattr(edge, name) for name in edge.__all__)
    with pytest.raises(AttributeError, match="no attribute"):
        edge.no_such_name  # noqa: B018


def test_files_in_one_call(enhancer_path, separator_path, tmp_path):
    rng = np.random.default_rng(0)
    talk, song = 0.1 * rng.standard_normal(20_000), 0.1 * rng.standard_normal((30_000, 2))
    soundfile.write(tmp_path / "talk.wav", talk, 16000, "FLOAT")
    soundfile.write(tmp_path / "song.wav", song, 44100, "FLOAT")
    report = edge.enhance_file(enhancer_path, tmp_path / "talk.wav", tmp_path / "clean.wav")
    np.testing.assert_allclose(soundfile.read(report.outputs[0])[0], 0.5 * talk, atol=1e-6)
    edge.separate_file(str(separator_path), tmp_path / "song.wav", tmp_path / "stems", threads=1)
    vocals, rate = soundfile.read(tmp_path / "stems" / "vocals.wav")
    assert rate == 44100 and np.abs(vocals - song * GAINS[3]).max() < 0.05
    with pytest.raises(InputError, match="not enhance"):
        edge.enhance_file(separator_path, tmp_path / "song.wav", tmp_path / "x.wav")
    assert not (tmp_path / "x.wav").exists()


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[f"{p}-{i}" for i, (p, _) in enumerate(BLOCKS)])
def test_the_python_that_the_documents_show_runs(page, block, enhancer_path, separator_path, tmp_path, monkeypatch):
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "enhancer").symlink_to(enhancer_path)
    (tmp_path / "bundles" / "htdemucs-mini").symlink_to(separator_path)
    soundfile.write(tmp_path / "noisy.wav", 0.1 * np.random.default_rng(1).standard_normal(16000), 16000)
    soundfile.write(tmp_path / "song.wav", 0.1 * np.random.default_rng(2).standard_normal((30000, 2)), 44100)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, page, "exec"), {})


def test_the_readme_shows_python():
    assert any(page == "README.md" for page, _ in BLOCKS)
