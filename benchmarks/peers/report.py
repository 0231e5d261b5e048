"""The report of `python -m edge.benchmarks.peers run` as Markdown, for docs/benchmarks.md and for a terminal."""

from __future__ import annotations

from typing import Any

from edge.benchmarks import tables
from edge.benchmarks.tables import number

_TITLES = {"enhance": "Speech enhancement", "separate": "Music separation"}


def markdown(content: dict[str, Any]) -> str:
    """A table a task, and what the figures mean."""
    parts = [part for task in _TITLES if content.get(task) for part in (f"### {_TITLES[task]}", _table(content, task))]
    parts.append("\n".join(f"- {note}" for note in _notes(content)))
    return "\n\n".join(parts)


def _table(content: dict[str, Any], task: str) -> str:
    rows = sorted(content[task], key=lambda row: (not row["ours"], row["rtf"]))
    header = ["system", "RTF", "times ours [95 %]", "latency ms", "weights MB", "peak memory MB"]
    header += ["hop ms", "p50 ms", "p99 ms", "SI-SDR dB"] if task == "enhance" else ["vocals SDR dB"]
    table = [header]
    for row in rows:
        ratio, quality, hop = row.get("ratio"), row.get("quality") or {}, row.get("hop") or {}
        cells = [
            f"**{row['title']}**" if row["ours"] else row["title"],
            number(row["rtf"], 1, 4),
            f"{ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}]" if ratio else "",
            number(row["latency_seconds"], 1e3, 0),
            number(row["size_bytes"], 1e-6, 1),
            number(row["peak_bytes"], 1e-6, 0),
        ]
        if task == "enhance":
            cells += [*(number(hop.get(k), 1e3, 2) for k in ("seconds", "p50", "p99"))]
            cells.append(number(quality.get("si_sdr"), 1, 1))
        else:
            cells.append(number(quality.get("vocals"), 1, 1) or "no weights")
        table.append(cells)
    return tables.markdown(table, 1)


def _notes(content: dict[str, Any]) -> list[str]:
    machine, settings = content["machine"], content["settings"]
    first = next((row["title"] for task in _TITLES for row in content.get(task, []) if row["ours"]), None)
    notes = [
        f"Measured on {machine['processor']} ({machine['processors']} processors), {settings['threads']} thread(s), "
        f"{settings['rounds']} interleaved rounds, {content['started']}, by `python -m edge.benchmarks.peers run`; "
        "every system in its own environment and process.",
        "RTF: time / audio, median of the rounds; enhancers hop by hop (NSNet2 whole), resampling to a peer's rate "
        "not counted; separators one network call on a segment (7.8 s; ours its own segment), overlap not counted.",
        "Latency: measured delay (cross-correlation on clean speech) plus the hop; a separator's is its segment. "
        "Peak memory: of the whole process, Python and its framework included.",
        "Quality: the noisy speech and the song that ship with the package; larger sets are in evaluation.md.",
    ]
    if first:
        notes.append("Times ours: ratio of the RTF to that of the first bundle of the task, paired by round.")
    for task in _TITLES:
        notes += [f"{row['title']}: {row['note']}." for row in content.get(task, []) if row.get("note")]
    others = [row for task in _TITLES for row in content.get(task, []) if not row["ours"]]
    versions = [f"{row['version']} ({row['license']})" for row in others]
    return [*notes, f"Versions and licences: {'; '.join(dict.fromkeys(versions))}.", *content["failures"]]
