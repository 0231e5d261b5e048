"""A benchmark report as one self-contained HTML page: plots, tables, and what they were measured on."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from edge.atomic import atomic_path
from edge.backends import BACKENDS
from edge.benchmarks import svg
from edge.benchmarks.profiling import KINDS
from edge.benchmarks.report import Content, cost_cells, labels, notes, number, ratio_cells

_BACKENDS = tuple(BACKENDS)

STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6472; --line: #d9dde4; --paper: #ffffff; --limit: #b3261e;
  --s0: #3b6fb6; --s1: #d9822b; --s2: #4c9f70; --s3: #8e6bb8; --s4: #c2566e; --s5: #7a8794;
  --s6: #3fa3ad; --s7: #a78b3d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b2; --line: #323a46; --paper: #14181f;
  --limit: #ff8a80; --s0: #6ea0e6; --s1: #f0a354; --s2: #6cc594; --s3: #b493de; --s4: #e58298; --s5: #98a4b1;
  --s6: #63c4ce; --s7: #cdb162; } }
body { margin: 0 auto; max-width: 960px; padding: 24px 20px 60px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 34px 0 2px; }
p { margin: 2px 0 8px; } .soft { color: var(--soft); } code { font-size: 13px; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; display: block; } svg text { font-size: 12px; fill: var(--ink); }
svg .tick, svg .axis { fill: var(--soft); font-size: 11px; } svg .grid { stroke: var(--line); fill: none; }
svg .inside { fill: var(--paper); font-size: 11px; }
svg .whisker { stroke: var(--ink); fill: none; } svg .median { stroke: var(--paper); stroke-width: 2; fill: none; }
svg .limit { stroke: var(--limit); stroke-width: 1.5; stroke-dasharray: 5 4; fill: none; }
.legend { color: var(--soft); font-size: 13px; }
.legend span { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin: 0 6px 0 12px; }
.legend span:first-child { margin-left: 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; white-space: nowrap; }
td, th { padding: 3px 9px; border-bottom: 1px solid var(--line); text-align: right;
  font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 600; } .t { text-align: left; } .fail { color: var(--limit); }
""" + "".join(
    f".s{i}, .c{i} {{ fill: var(--s{i}); }} .b{i} {{ background: var(--s{i}); }} "
    f".o{i} {{ fill: var(--paper); stroke: var(--s{i}); stroke-width: 2; }}\n"
    for i in range(8)
)


def write_page(content: Content, target: Path) -> None:
    """The report `content` (as report.schema.json) as a page."""
    body = [
        "<h1>edge-bench</h1>",
        *(f'<p class="soft">{escape(note)}</p>' for note in notes(content)[-1:]),
        f'<p class="soft">{escape(content["tool"]["started"])} · <code>{escape(content["tool"].get("command") or "")}'
        "</code></p>",
        *(
            f'<p class="fail">{escape(f["bundle"])} {escape(f["backend"] or "")}: {escape(f["error"])}</p>'
            for f in content["failures"]
        ),
    ]
    if content["results"]:
        body += plots(content)
    write_html("edge-bench", body, target)


def plots(content: Content) -> list[str]:
    """Sections of a page: speed, hop times, size against speed, distance from the floor, profiles, all figures."""
    results = content["results"]
    names = case_names(results)
    kinds = [_BACKENDS.index(r["backend"]) for r in results]
    key = svg.legend([(i, _BACKENDS[i]) for i in sorted(set(kinds))])
    body = [
        "<h2>Real-time factor</h2>",
        '<p class="soft">Time of a run / the audio that it advances by, median; shorter is better. '
        "Line: from the fastest to the slowest round.</p>",
        key,
        svg.bars(
            [
                svg.Bar(name, r["rtf"], min(r["rtf_rounds"]), max(r["rtf_rounds"]), kind, f"{r['rtf']:.4f}")
                for name, r, kind in zip(names, results, kinds, strict=True)
            ],
            "real-time factor",
            1.0,
        ),
        "<h2>Time of a hop against its deadline</h2>",
        '<p class="soft">Box: 5th to 95th percentile with the median; dot: the longest run. '
        "Beyond the dashed line a live stream would break up.</p>",
        svg.ranges(
            [_range(name, r, kind) for name, r, kind in zip(names, results, kinds, strict=True)],
            "percent of the hop",
            100.0,
        ),
        "<h2>Size against speed</h2>",
        f'<p class="soft">File and real-time factor with {min(r["threads"] for r in results)} thread(s); filled: fp32, '
        "hollow: int8. Towards the lower left is better.</p>",
        svg.scatter(_points(results), "file, MB", "real-time factor"),
    ]
    floors = [(n, r["floor"], k) for n, r, k in zip(names, results, kinds, strict=True) if r.get("floor")]
    if floors:
        body += [
            "<h2>Distance from the floor</h2>",
            '<p class="soft">Median time over the least that this machine\'s measured peak allows; '
            "the dashed line would be perfect.</p>",
            svg.bars(
                [svg.Bar(n, f["times"], f["times"], f["times"], k, f"{f['times']:.1f}") for n, f, k in floors],
                "times the floor",
                1.0,
            ),
        ]
    profiles = [(n, r["profile"]) for n, r in zip(names, results, strict=True) if r.get("profile")]
    if profiles:
        body += ["<h2>Where the time goes</h2>", *_profiles(profiles)]
    return [
        *body,
        "<h2>All figures</h2>",
        _table(results),
        *(f'<p class="soft">{escape(n)}</p>' for n in notes(content)),
    ]


def write_html(title: str, body: Sequence[str], target: Path) -> None:
    """One file without any reference to another."""
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )
    with atomic_path(target) as temporary:
        temporary.write_text(page, encoding="utf-8")


def case_names(results: Sequence[dict[str, Any]]) -> list[str]:
    """The bundle, and the threads where they differ among the results."""
    many = len({r["threads"] for r in results}) > 1
    return [f"{n}, {r['threads']} thr" if many else n for n, r in zip(labels(results), results, strict=True)]


def html_table(rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """The first row is the header; the columns `left` are words, aligned to the left."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} class="t">{escape(c)}</{tag}>' if i in left else f"<{tag}>{escape(c)}</{tag}>"
            for i, c in enumerate(cells)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows[1:])
    return f'<div class="wide"><table><tr>{line(rows[0], "th")}</tr>{body}</table></div>'


def _range(name: str, r: dict[str, Any], kind: int) -> svg.Range:
    times, hop = r["hop_time"], r["hop_seconds"]
    low = r["hop_quantiles"][1] if r.get("hop_quantiles") else times["min"]
    text = ", ".join(f"{key} {1e3 * times[key]:.2f} ms" for key in ("p50", "p95", "p99", "max"))
    low, median, high, longest = (100 * value / hop for value in (low, times["p50"], times["p95"], times["max"]))
    return svg.Range(name, low, median, high, longest, kind, f"{text}; hop {1e3 * hop:g} ms")


def _points(results: Sequence[dict[str, Any]]) -> list[svg.Point]:
    threads = min(r["threads"] for r in results)
    return [
        svg.Point(name, r["graph_bytes"] / 1e6, r["rtf"], _BACKENDS.index(r["backend"]), r["precision"] == "fp32")
        for name, r in zip(labels(results), results, strict=True)
        if r["threads"] == threads
    ]


def _profiles(profiles: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    order = [*KINDS, "other"]
    rows = [
        svg.Stack(name, sorted((order.index(e["kind"]) % 8, e["kind"], e["share"]) for e in profile["entries"]))
        for name, profile in profiles
    ]
    used = sorted({e["kind"] for _, p in profiles for e in p["entries"]}, key=order.index)
    table = [["bundle", "layer type", "ms a run", "share", "calls", "operators"]]
    for name, profile in profiles:
        for entry in profile["entries"]:
            operators = ", ".join(f"{o} {1e3 * s:.2f}" for o, s in list(entry["operators"].items())[:3])
            cells = [number(entry["seconds"], 1e3, 3), f"{entry['share']:.1%}", f"{entry['calls']:.0f}", operators]
            table.append([name, entry["kind"], *cells])
    source = f'<p class="soft">{escape(profiles[0][1]["source"])}, in a run of its own.</p>'
    return [
        source,
        svg.legend([(order.index(kind) % 8, kind) for kind in used]),
        svg.stacks(rows),
        html_table(table, (0, 1, 5)),
    ]


def _table(results: Sequence[dict[str, Any]]) -> str:
    header = [
        "bundle",
        "backend",
        "threads",
        "precision",
        "RTF",
        "ratio",
        "95 %",
        "p50 ms",
        "p95",
        "p99",
        "max",
        "hop ms",
    ]
    header += ["missed", "file MB", "weights MB", "MB/s read", "load ms", "first ms", "peak MB", "x of floor", "host %"]
    rows = [[*header, "golden dB"]]
    for name, r in zip(labels(results), results, strict=True):
        rows.append(
            [
                name,
                r["backend"],
                str(r["threads"]),
                r["precision"],
                f"{r['rtf']:.4f}",
                *ratio_cells(r.get("ratio")),
                *(number(r["hop_time"][key], 1e3, 2) for key in ("p50", "p95", "p99", "max")),
                number(r["hop_seconds"], 1e3, 1),
                f"{r['deadline_misses']}/{r['hops']}",
                *cost_cells(r),
                number(r["golden_snr_db"], 1, 0),
            ]
        )
    return html_table(rows, (0, 1))
