"""An evaluation as tables: aligned text for a terminal, Markdown for the documents."""

from __future__ import annotations

from typing import Any

from edge.benchmarks import tables as kit
from edge.benchmarks.quality.metrics import UNITS

DECIMALS = {"pesq": 2, "estoi": 3, "dnsmos": 2}
DESCRIPTIONS = {
    "noise": "recorded noise at -5 to 20 dB SNR, no reverberation",
    "babble": "five other voices at 0 to 15 dB SNR",
    "reverb": "simulated rooms of RT60 0.3 to 0.8 s, no noise; the target is the direct path",
    "noise+reverb": "the same rooms with recorded noise at 0 to 15 dB; the target is the direct path",
    "band-limited": "low-passed at 4 kHz; LSD is the log-spectral distance above 4 kHz, less is better",
    "silence": "level left in digital silence after noisy speech, less is better",
    "noise alone": "level left of noise at -45 dBFS without speech, less is better",
    "clean": "voices without noise: what a system does to them",
    "levels": "noise at 10 dB SNR, the loudest sample at -10 to -60 dBFS",
    "whisper": "voices without their pitch, 20 dB softer, no noise",
    "long": "a minute in noise at 0 to 20 dB SNR, the same behind streams of other lengths",
    "pairs": "the given pairs",
    "accompaniment": "drums, bass and other together",
}


def tables(content: dict[str, Any]) -> list[tuple[str, list[list[str]]]]:
    """(title, rows of cells with the header first) for each condition or source, then each metric by group."""
    titles = {system["name"]: system["title"] for system in content["systems"]}
    out = []
    for condition in dict.fromkeys(row["condition"] for row in content["rows"]):
        own = [row for row in content["rows"] if row["condition"] == condition]
        whole = [row for row in own if row["group"] == ""]
        metrics = list(dict.fromkeys(metric for row in whole for metric in row["metrics"]))
        body = [["system", *(UNITS[metric] for metric in metrics)]]
        for row in whole:
            body.append([titles[row["system"]], *(_cell(row["metrics"].get(metric), metric) for metric in metrics)])
        files = max((value["files"] for row in whole for value in row["metrics"].values()), default=0)
        described = f": {DESCRIPTIONS[condition]}" if condition in DESCRIPTIONS else ""
        out.append((f"{condition}{described} ({files} files)", body))
        groups = list(dict.fromkeys(row["group"] for row in own if row["group"]))
        for metric in (m for m in metrics if groups and m != "dnsmos"):
            body = [["system", *groups]]
            for name in dict.fromkeys(row["system"] for row in own):
                cells = {row["group"]: row["metrics"].get(metric) for row in own if row["system"] == name}
                body.append([titles[name], *(_cell(cells.get(group), metric, False) for group in groups)])
            out.append((f"{condition}, {UNITS[metric]}", body))
    if content.get("guitar"):
        header = ["song", "mixture SI-SDR dB", "other SI-SDR dB", "share of the guitar in other", "sum of stems SDR dB"]
        keys = ("song", "mixture_si_sdr", "other_si_sdr", "guitar_in_other", "sum_sdr")
        body = [header, *([str(row[key]) for key in keys] for row in content["guitar"])]
        out.append(("real songs of which guitar and rest are known", body))
    return out


def text(content: dict[str, Any]) -> str:
    """For a terminal."""
    parts = [f"{title}\n{kit.columns(body, (0,))}" for title, body in tables(content)]
    return "\n\n".join([*parts, *notes(content)])


def markdown(content: dict[str, Any]) -> str:
    """For a document."""
    parts = [f"**{title[0].upper()}{title[1:]}**\n\n{kit.markdown(body, 1)}" for title, body in tables(content)]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes(content))])


def notes(content: dict[str, Any]) -> list[str]:
    """What the figures are, and of what."""
    out = [
        f"Data: {content['data']}; seed {content['seed']}; command: `{content['command']}`.",
        "Mean over files, in brackets its 95 % interval by bootstrap; every system on the same files in one run, "
        "each peer's delay measured and compensated.",
    ]
    versions = [f"{s['title']}: {s['about']}" for s in content["systems"] if s.get("about")]
    return [*out, *([f"Versions: {'; '.join(versions)}."] if versions else []), *content["missing"], *content["failed"]]


def _cell(value: dict[str, float] | None, metric: str, interval: bool = True) -> str:
    if value is None:
        return ""
    digits = DECIMALS.get(metric, 1)
    return f"{value['mean']:.{digits}f}" + f" [{value['low']:.{digits}f}, {value['high']:.{digits}f}]" * interval
