"""Checks what is inside the APK. usage: apk.py APK BUILD BUNDLES"""

import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import project

PAGE = 16384
NETWORK = ("android.permission.INTERNET", "android.permission.ACCESS_NETWORK_STATE")


def main(apk: Path, build: Path, bundles: Path) -> None:
    with zipfile.ZipFile(apk) as archive:
        names = set(archive.namelist())
        libraries = [check_library(apk, archive, name) for name in sorted(names) if name.endswith(".so")]
        wanted = {f"lib/{abi}/{lib}.so" for abi in project.abis() for lib in ("libonnxruntime", "libonnxruntime4j_jni")}
        assert wanted <= names, f"missing: {sorted(wanted - names)}"
        for bundle in project.bundles():
            check_bundle(archive, bundles / bundle, f"assets/bundles/{bundle}/")
        assert "META-INF/services/org.stemedge.core.Engine" in names
    tasks = [
        re.search(r'"task": "(\w+)"', (bundles / name / "manifest.json").read_text()) for name in project.bundles()
    ]
    assert {task[1] for task in tasks if task} == {"enhance", "separate"}, "not one bundle of each task"
    classes = check_classes(apk, build)
    check_badging(apk)
    print(
        f"{apk.stat().st_size / 1e6:.1f} MB: bundles {', '.join(project.bundles())} byte by byte, "
        f"{len(libraries)} native libraries at 16 KB, the {classes} tested classes in the dex, "
        "no network permission, badging clean"
    )


def check_library(apk: Path, archive: zipfile.ZipFile, name: str) -> str:
    """Stored at a page boundary of 16 KB, and its segments are aligned so, too."""
    info = archive.getinfo(name)
    with apk.open("rb") as file:
        file.seek(info.header_offset + 26)
        name_length, extra_length = struct.unpack("<HH", file.read(4))
    start = info.header_offset + 30 + name_length + extra_length
    assert info.compress_type == zipfile.ZIP_STORED and start % PAGE == 0, f"{name} is not aligned to 16 KB"
    elf = archive.read(name)
    (offset,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    for i in range(count):
        (kind,) = struct.unpack_from("<I", elf, offset + i * size)
        (alignment,) = struct.unpack_from("<Q", elf, offset + i * size + 48)
        assert kind != 1 or alignment % PAGE == 0, f"{name}: a segment is aligned to {alignment} only"
    return name


def check_bundle(archive: zipfile.ZipFile, folder: Path, prefix: str) -> None:
    packed = {name.removeprefix(prefix) for name in archive.namelist() if name.startswith(prefix)}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert packed == files and files, f"{prefix}: {packed ^ files}"
    for name in files:
        assert archive.read(prefix + name) == (folder / name).read_bytes(), f"{prefix}{name} differs"


def check_classes(apk: Path, build: Path) -> int:
    """The jars that the JVM tests ran on are the ones in the dex: every class of theirs is there."""
    tested = set()
    for jar in ("core.jar", "engine-ort.jar"):
        with zipfile.ZipFile(build / jar) as archive:
            tested |= {name.removesuffix(".class") for name in archive.namelist() if name.endswith(".class")}
    dump = subprocess.run(["dexdump", str(apk)], capture_output=True, text=True, check=True, errors="replace").stdout
    dexed = set(re.findall(r"Class descriptor +: 'L(.+);'", dump))
    assert tested and tested <= dexed, f"not in the dex: {sorted(tested - dexed)[:5]}"
    oldest_jar = min((build / jar).stat().st_mtime for jar in ("core.jar", "engine-ort.jar"))
    assert all(dex.stat().st_mtime >= oldest_jar for dex in (build / "dex").glob("*.dex")), "the dex is older"
    return len(tested)


def check_badging(apk: Path) -> None:
    run = subprocess.run(["aapt2", "dump", "badging", str(apk)], capture_output=True, text=True, check=True)
    assert not run.stderr.strip(), run.stderr
    badging = run.stdout
    for expected in (
        f"package: name='{project.application_id()}'",
        f"minSdkVersion:'{project.PINS['minSdk']}'",
        f"targetSdkVersion:'{project.PINS['targetSdk']}'",
        f"launchable-activity: name='{project.application_id()}.MainActivity'",
        "application-label:'stem-edge demo'",
    ):
        assert expected in badging or expected.replace("minSdkVersion", "sdkVersion") in badging, (
            f"badging lacks {expected}"
        )
    native = next(line for line in badging.splitlines() if line.startswith("native-code:"))
    assert sorted(re.findall(r"'(.+?)'", native)) == sorted(project.abis()), native
    for permission in NETWORK:
        assert permission not in badging, f"{permission} is asked for"
    tree = subprocess.run(
        ["aapt2", "dump", "xmltree", "--file", "AndroidManifest.xml", str(apk)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "TelemetryInitializer" not in tree, "ONNX Runtime's telemetry provider is there"
    assert "E: service" in tree and "FOREGROUND_SERVICE_MICROPHONE" in tree


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
