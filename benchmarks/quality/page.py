"""The audio page of an evaluation: tables, spectrograms and players in one folder with relative links."""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.atomic import atomic_path
from edge.audio import AudioReader
from edge.benchmarks.page import soft, write_html
from edge.benchmarks.quality.report import notes, tables
from edge.benchmarks.tables import html as html_table
from edge.errors import InputError

RANGE_DB = 80  # of the pictures

STYLE = """
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: .6rem; }
figure img, audio { width: 100%; display: block; }
figure img { background: white; border-radius: 3px; }
figcaption { margin-bottom: .4rem; } figcaption span { color: var(--soft); display: block; min-height: 1.5em; }
"""


@dataclass(frozen=True)
class Take:
    """One recording on the page: `file` relative to the page's folder, `caption` its figures."""

    title: str
    file: str
    caption: str = ""


def write_page(folder: Path, title: str, content: dict[str, Any], scenes: Mapping[str, Sequence[Take]]) -> Path:
    """Write `folder/index.html` and a picture beside each audio file that the scenes name; returns the page's path.

    scenes: by title the same recording through every system. Raises InputError where matplotlib is missing.
    """
    for take in itertools.chain(*scenes.values()):
        picture = (folder / take.file).with_suffix(".png")
        if not picture.exists() or picture.stat().st_mtime < (folder / take.file).stat().st_mtime:
            spectrogram(folder / take.file, picture)
    ours = {s["title"] for s in content["systems"] if s["name"] == "ours"}
    body = []
    for name, rows in tables(content):
        body += [f"<h2>{html.escape(name)}</h2>", html_table(rows, (0,), ours)]
    body.append('<ul class="soft">' + "".join(f"<li>{html.escape(note)}</li>" for note in notes(content)) + "</ul>")
    if scenes:
        body += ["<h1>Listen</h1>", soft(f"Spectrograms share one scale of {RANGE_DB} dB.")]
    for scene, takes in scenes.items():
        body.append(f"<h2>{html.escape(scene)}</h2><div class=clips>{''.join(map(_figure, takes))}</div>")
    page = folder / "index.html"
    write_html(title, body, page, STYLE)
    return page


def spectrogram(source: Path, target: Path) -> None:
    """A picture (PNG) of the mono mix of an audio file."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError('the page needs matplotlib: pip install "stem-edge[eval]"') from error
    with AudioReader(source) as reader:
        audio = np.concatenate([block.mean(axis=1) for block in reader.blocks()])
        rate = reader.sample_rate
    size = 512 if rate <= 16000 else 2048
    hop = max(size // 4, len(audio) // 900)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(audio, (0, size)), size)[::hop]
    level = 20 * np.log10(np.abs(np.fft.rfft(frames * np.hanning(size))).T / (size / 4) + 1e-9)
    figure = Figure(figsize=(4.6, 2.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    extent = (0.0, len(audio) / rate, 0.0, rate / 2000)
    # one scale for all pictures: what a system removed must look removed
    axes.imshow(level, origin="lower", aspect="auto", extent=extent, vmin=-20 - RANGE_DB, vmax=-20, cmap="magma")
    axes.set_xlabel("s", fontsize=7, labelpad=1)
    axes.set_ylabel("kHz", fontsize=7, labelpad=1)
    axes.tick_params(labelsize=7)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format="png")


def _figure(take: Take) -> str:
    file, picture = html.escape(take.file), html.escape(Path(take.file).with_suffix(".png").as_posix())
    caption = f"<figcaption>{html.escape(take.title)} <span>{html.escape(take.caption)}</span></figcaption>"
    image = f'<img src="{picture}" loading=lazy alt="spectrogram, {html.escape(take.title)}">'
    return f'<figure>{caption}{image}<audio controls preload=none src="{file}"></audio></figure>'
