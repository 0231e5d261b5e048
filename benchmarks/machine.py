"""A fingerprint of the machine, without which a speed says nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

# Instruction sets that decide how fast the graphs are.
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm", "sve")
PACKAGES = ("numpy", "onnxruntime", "executorch", "executorch-numpy-runtime")
_CPU = Path("/sys/devices/system/cpu")


def fingerprint() -> dict[str, Any]:
    """`machine` of report.schema.json; what this system does not tell is None."""
    processor, flags = _processor()
    return {
        "processor": processor,
        "device_model": _read("/proc/device-tree/model").strip("\0 \n") or None,
        "architecture": platform.machine(),
        "features": [feature for feature in FEATURES if feature in flags],
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_bytes": _memory_bytes(),
        "governor": _read(_CPU / "cpu0/cpufreq/scaling_governor").strip() or None,
        "frequency_hz": _frequencies(),
        "container": _container(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def temperatures() -> dict[str, Any] | None:
    """The thermal state now: degrees Celsius by zone; None where the system shows none."""
    celsius = {}
    for zone in sorted(Path("/sys/class/thermal").glob("thermal_zone*")):
        text = _read(zone / "temp").strip()
        if re.fullmatch(r"-?\d+", text):
            name = _read(zone / "type").strip() or zone.name
            celsius[name if name not in celsius else zone.name] = int(text) / 1000
    return {"status": None, "celsius": celsius} if celsius else None


def processor_ticks() -> tuple[int, int] | None:
    """Clock ticks since the start of the system: (all, taken by the hypervisor for others); None where unknown."""
    fields = _read("/proc/stat").partition("\n")[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None
    ticks = [int(field) for field in fields[1:9]]
    return sum(ticks), ticks[7]


def steal_share(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    """The share of processor time that the hypervisor took between two calls of `processor_ticks`."""
    if before is None or after is None or after[0] <= before[0]:
        return None
    return (after[1] - before[1]) / (after[0] - before[0])


def machine_line(machine: dict[str, Any]) -> str:
    """The fingerprint in one line."""
    parts = [machine.get("device_model"), machine["processor"], f"{machine['processors']} processors"]
    if machine["features"]:
        parts.append("+".join(machine["features"]))
    if machine["governor"]:
        parts.append(f"governor {machine['governor']}")
    if machine["load_average"] is not None:
        parts.append(f"load {machine['load_average']}")
    if machine.get("steal_share"):
        parts.append(f"{100 * machine['steal_share']:.1f} % stolen by the hypervisor")
    parts.append(machine["system"].split("-")[0])
    if machine["python"]:
        parts.append(f"Python {machine['python']}")
    versions = [f"{name} {version}" for name, version in machine["packages"].items()]
    return ", ".join(part for part in [*parts, *versions] if part)


def _processor() -> tuple[str, set[str]]:
    fields: dict[str, str] = {}
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    part = fields.get("cpu part")
    name = fields.get("model name") or (part and f"ARM part {part}") or platform.processor() or platform.machine()
    return name, set((fields.get("flags") or fields.get("features") or "").split())


def _frequencies() -> dict[str, float | None] | None:
    def highest(name: str) -> float | None:
        texts = [_read(file).strip() for file in _CPU.glob(f"cpu[0-9]*/cpufreq/{name}")]
        return max((1000.0 * int(text) for text in texts if text.isdigit()), default=None)  # kHz

    found = {"current": highest("scaling_cur_freq"), "maximum": highest("cpuinfo_max_freq")}
    return found if any(found.values()) else None


def _container() -> dict[str, float | int | None] | None:
    """The limits of the control group (version 2, or 1 as containers mount it)."""
    group = next((line[3:] for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")), "/")
    root = Path("/sys/fs/cgroup")
    processors: float | None = None
    quota, _, period = _read_first(root / group.lstrip("/") / "cpu.max", root / "cpu.max").strip().partition(" ")
    if not quota:
        quota = _read(root / "cpu/cpu.cfs_quota_us").strip()
        period = _read(root / "cpu/cpu.cfs_period_us").strip()
    if quota.isdigit() and period.isdigit():
        processors = int(quota) / int(period)
    memory = _read_first(
        root / group.lstrip("/") / "memory.max", root / "memory.max", root / "memory/memory.limit_in_bytes"
    ).strip()
    limit = int(memory) if memory.isdigit() and int(memory) < 1 << 60 else None  # version 1 writes "none" as 2^63
    return {"processors": processors, "memory_bytes": limit} if processors or limit else None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _read_first(*paths: Path) -> str:
    return next((text for path in paths if (text := _read(path))), "")


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
