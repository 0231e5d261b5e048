"""A benchmark report as one self-contained HTML page: plots, tables, and what they were measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from types import ModuleType
from typing import Any

from edge.backends import BACKENDS
from edge.benchmarks import tables
from edge.benchmarks.documents import write_text
from edge.benchmarks.profiling import KINDS
from edge.benchmarks.report import Content, labels
from edge.benchmarks.report_text import CASE, COSTS, PROFILE, TIMES, figures, notes, profile_rows

_BACKENDS = tuple(BACKENDS)

COLORS = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6472; --line: #d9dde4; --paper: #ffffff; --limit: #b3261e;
  --s0: #3b6fb6; --s1: #d9822b; --s2: #4c9f70; --s3: #8e6bb8; --s4: #c2566e; --s5: #7a8794;
  --s6: #3fa3ad; --s7: #a78b3d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b2; --line: #323a46; --paper: #14181f;
  --limit: #ff8a80; --s0: #6ea0e6; --s1: #f0a354; --s2: #6cc594; --s3: #b493de; --s4: #e58298; --s5: #98a4b1;
  --s6: #63c4ce; --s7: #cdb162; } }
"""
STYLE = (
    COLORS
    + """\
body { margin: 0 auto; max-width: 960px; padding: 24px 20px 60px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 34px 0 2px; }
p { margin: 2px 0 8px; } .soft { color: var(--soft); } code { font-size: 13px; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; display: block; }
.legend { color: var(--soft); font-size: 13px; }
.legend span { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin: 0 6px 0 12px; }
.legend span:first-child { margin-left: 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; white-space: nowrap; }
td, th { padding: 3px 9px; border-bottom: 1px solid var(--line); text-align: right;
  font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 600; } .t { text-align: left; } .fail { color: var(--limit); }
.strong td { font-weight: 600; }
"""
)


def write_page(content: Content, target: Path) -> None:
    """The report `content` (as report.schema.json) as a page."""
    tool, results = content["tool"], content["results"]
    body = [
        soft(notes(content)[-1]),
        f'<p class="soft">{escape(tool["started"])} · <code>{escape(tool.get("command") or "")}</code></p>',
        *(
            f'<p class="fail">{escape(f["bundle"])} {escape(f["backend"] or "")}: {escape(f["error"])}</p>'
            for f in content["failures"]
        ),
    ]
    if results:
        body += drawn(lambda plots: _plots(plots, results))
        if profiles := [
            (n, r["profile"]) for n, r in zip(case_names(results), results, strict=True) if r.get("profile")
        ]:
            body += ["<h2>Where the time goes</h2>", *_profiles(profiles)]
        all_figures = figures(
            results, *CASE, "precision", "RTF", "ratio", "95 %", *TIMES, "hop ms", "missed", *COSTS, "golden dB"
        )
        body += ["<h2>All figures</h2>", tables.html(all_figures, (0, 1)), *map(soft, notes(content))]
    write_html("edge-bench", body, target)


def drawn(draw: Callable[[ModuleType], list[str]]) -> list[str]:
    """What `draw` makes with the module of plots; a line in its place where matplotlib is missing, as on a device."""
    try:
        from edge.benchmarks import plots
    except ImportError:
        return [soft('No plots: they need matplotlib, pip install "stem-edge[eval]".')]
    return draw(plots)


def _plots(plots: ModuleType, results: Sequence[dict[str, Any]]) -> list[str]:
    """Sections: speed, hop times, size against speed, distance from the floor."""
    cases = [(name, r, _BACKENDS.index(r["backend"])) for name, r in zip(case_names(results), results, strict=True)]
    threads = min(r["threads"] for r in results)
    hops = []
    for name, r, kind in cases:
        times = r["hop_time"]
        low = r["hop_quantiles"][1] if r.get("hop_quantiles") else times["min"]
        percent = [100 * value / r["hop_seconds"] for value in (low, times["p50"], times["p95"], times["max"])]
        hops.append(plots.Range(name, *percent, kind))
    speeds = [
        plots.Bar(n, r["rtf"], min(r["rtf_rounds"]), max(r["rtf_rounds"]), k, f"{r['rtf']:.4f}") for n, r, k in cases
    ]
    sizes = [
        plots.Point(name, r["graph_bytes"] / 1e6, r["rtf"], _BACKENDS.index(r["backend"]), r["precision"] == "fp32")
        for name, r in zip(labels(results), results, strict=True)
        if r["threads"] == threads
    ]
    floors = [(n, r["floor"]["times"], k) for n, r, k in cases if r.get("floor")]
    body = [
        "<h2>Real-time factor</h2>",
        soft(
            "Time of a run / the audio that it advances by, median; shorter is better. "
            "Line: from the fastest to the slowest round."
        ),
        legend([(i, _BACKENDS[i]) for i in sorted({kind for _, _, kind in cases})]),
        plots.bars(speeds, "real-time factor", 1.0),
        "<h2>Time of a hop against its deadline</h2>",
        soft(
            "Box: 5th to 95th percentile with the median; dot: the longest run. "
            "Beyond the dashed line a live stream would break up."
        ),
        plots.ranges(hops, "percent of the hop", 100.0),
        "<h2>Size against speed</h2>",
        soft(
            f"File and real-time factor with {threads} thread(s); filled: fp32, hollow: int8. "
            "Towards the lower left is better."
        ),
        plots.scatter(sizes, "file, MB", "real-time factor"),
    ]
    if floors:
        body += [
            "<h2>Distance from the floor</h2>",
            soft(
                "Median time over the least that this machine's measured peak allows; the dashed line would be perfect."
            ),
            plots.bars([plots.Bar(n, t, t, t, k, f"{t:.1f}") for n, t, k in floors], "times the floor", 1.0),
        ]
    return body


def _profiles(profiles: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    order = [*KINDS, "other"]
    used = sorted({e["kind"] for _, p in profiles for e in p["entries"]}, key=order.index)
    table = [["bundle", "layer type", *PROFILE]]
    table += [[name, *cells] for name, profile in profiles for cells in profile_rows(profile)]

    def shares(plots: ModuleType) -> list[str]:
        rows = [
            plots.Stack(name, sorted((order.index(e["kind"]) % 8, e["kind"], e["share"]) for e in profile["entries"]))
            for name, profile in profiles
        ]
        return [legend([(order.index(kind) % 8, kind) for kind in used]), plots.stacks(rows)]

    source = soft(f"{profiles[0][1]['source']}, in a run of its own.")
    return [source, *drawn(shares), tables.html(table, (0, 1, 5))]


def legend(series: Sequence[tuple[int, str]]) -> str:
    """Names beside their colours."""
    spans = (f'<span style="background: var(--s{i})"></span>{escape(name)} ' for i, name in series)
    return f'<p class="legend">{"".join(spans)}</p>'


def soft(text: str) -> str:
    """A paragraph that explains."""
    return f'<p class="soft">{escape(text)}</p>'


def write_html(title: str, body: Sequence[str], target: Path, style: str = "") -> None:
    """One file without any reference to another but those in `body`, with more `style`."""
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}{style}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )
    write_text(target, page)


def case_names(results: Sequence[dict[str, Any]]) -> list[str]:
    """The bundle, and the threads where they differ among the results."""
    many = len({r["threads"] for r in results}) > 1
    return [f"{n}, {r['threads']} thr" if many else n for n, r in zip(labels(results), results, strict=True)]
