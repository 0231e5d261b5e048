"""The Android demo's Gradle project, as far as it can be checked without its toolchain (android_demo/check.sh)."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "android_demo"


def project(*arguments: str) -> str:
    command = [sys.executable, str(DEMO / "check/project.py"), *arguments]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("part", ["check", "resources"])
def test_pins_aliases_and_resources_agree(part: str) -> None:
    assert project(part)


def test_the_manifest_drops_what_onnx_runtime_adds_for_its_telemetry() -> None:
    library = DEMO / "check/onnxruntime-android-manifest.xml"
    added = ("android.permission.INTERNET", "android.permission.ACCESS_NETWORK_STATE", "TelemetryInitializer")
    assert all(name in library.read_text() for name in added)
    merged = project("manifest", str(library))
    assert not any(name in merged for name in added)
    assert "android.permission.RECORD_AUDIO" in merged and ".LiveService" in merged


def test_the_snippet_of_the_readme_is_the_one_that_is_tested() -> None:
    def lines(code: str) -> list[str]:
        return [line for line in (re.sub(r"\s*//.*", "", line).strip() for line in code.splitlines()) if line]

    snippet = re.search(r"```kotlin\n(.*?)```", (DEMO / "README.md").read_text(), re.S)
    assert snippet is not None
    wanted = [line for line in lines(snippet[1]) if "Os.setenv" not in line]  # Android's own
    tested = lines((DEMO / "engine-ort/src/test/kotlin/org/stemedge/ort/ReadmeTest.kt").read_text())
    start = tested.index(wanted[0])
    assert tested[start : start + len(wanted)] == wanted
