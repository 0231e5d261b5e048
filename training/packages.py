"""Data packages: fetched by name with apt-get, unpacked without installing, described for licence notices.

Nothing is installed and no rights are needed: `apt-get download` verifies each file against the signed
package index and `dpkg -x` unpacks it under the data folder.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edge.errors import EdgeError, InputError

# Licence of the audio inside each package, from its Debian copyright file.
LICENSES = {
    "festvox-ru": "BSD-like (MSU, festvox)",
    "asterisk-core-sounds-en-g722": "CC-BY-SA-3.0 (Allison Smith, Digium)",
    "asterisk-core-sounds-fr-g722": "CC-BY-SA-3.0 (June Wallack)",
    "asterisk-core-sounds-it-g722": "CC-BY-3.0 (Carlo Flora)",
    "asterisk-core-sounds-ru-g722": "CC-BY-3.0 (Maxim Topal)",
    "tuxpaint-stamps-default": "GPL-2",
    "ktuberling-data": "GPL-2+",
    "klettres-data": "GPL-2+",
    "0ad-data": "CC-BY-SA-3.0 (Wildfire Games)",
    "bucklespring-data": "GPL-2+",
    "lincity-ng-data": "GPL-2+",
    "megaglest-data": "CC-BY-SA-3.0 (The Glest Team)",
    "unknown-horizons": "GPL-2+",
    "wesnoth-1.16-data": "GPL-2+",
    "widelands-data": "GPL-2+",
    "mma": "GPL-2+",
    "fluid-soundfont-gm": "MIT (Frank Wen)",
}


@dataclass(frozen=True)
class Package:
    """A package unpacked under `root`."""

    name: str
    version: str
    root: Path

    @property
    def license(self) -> str:
        return LICENSES.get(self.name, "see its copyright file")

    @property
    def origin(self) -> tuple[str, str, str]:
        """Name, version and licence, as a data manifest has them."""
        return self.name, self.version, self.license


def fetch(name: str, folder: Path) -> Package:
    """Download Debian package `name` into `folder` and unpack it into `folder/name`, unless it is there.

    Raises InputError where apt-get or dpkg is missing, EdgeError when a download or unpacking fails.
    """
    for tool in ("apt-get", "dpkg", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise InputError(f"{tool} not found: fetching data packages needs Debian or Ubuntu; pass your own folders")
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob(f"{name}_*.deb")):
        _call(["apt-get", "download", name], folder, f"cannot download package {name} (try: apt-get update)")
    deb = sorted(folder.glob(f"{name}_*.deb"))[-1]
    version = subprocess.run(
        ["dpkg-deb", "-f", str(deb), "Version"], capture_output=True, text=True, check=False
    ).stdout.strip()
    root = folder / name
    if not root.exists():
        partial = folder / f".{name}.part"
        shutil.rmtree(partial, ignore_errors=True)
        _call(["dpkg", "-x", str(deb.resolve()), str(partial.resolve())], folder, f"cannot unpack {deb.name}")
        partial.rename(root)
    return Package(name, version, root)


def _call(command: list[str], folder: Path, message: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EdgeError(f"{message}: {reason}")
