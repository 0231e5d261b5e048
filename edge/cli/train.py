"""edge-train: training data, the training of the two networks, recovery of what was pruned."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge.console import make_parser, positive_float, positive_int, run_command, whole_number
from edge.errors import InputError

EXAMPLES = """\
  edge-train data speech --out data
  edge-train enhancer --data data --minutes 66 --threads 1 --out runs/enhancer
  edge-train enhancer --data data --minutes 120 --start edge/weights/enhancer.safetensors --out runs/longer
  edge-train pack --data data --out pieces
  edge-train unpack pieces/* --out data && edge-train enhancer --device cuda --batch 128 --minutes 10 --out runs/gpu
  edge-train recover enhancer --prune 0.5 --data data --minutes 21 --out runs/enhancer-p50 --resume
"""


def parser() -> argparse.ArgumentParser:
    top = make_parser("edge-train", "Training data, trainings that can be stopped and resumed, recovery.", EXAMPLES)
    commands = top.add_subparsers(dest="command", required=True)

    data = commands.add_parser("data", help="fetch or import training data")
    data.add_argument("kind", choices=["speech", "music"])
    data.add_argument("--out", type=Path, default=Path("data"), help="data folder (default: data)")
    data.add_argument("--songs", type=positive_int, default=160, help="music: how many songs to render (default: 160)")
    data.add_argument("--clones", type=Path, help="speech: folder of local clones of the repositories")
    data.add_argument("--clean", type=Path, help="speech: use this folder of clean speech, e.g. of VoiceBank")
    data.add_argument("--noise", type=Path, help="speech: folder of noises, with --clean")
    data.add_argument("--noisy", type=Path, help="speech: noisy recordings named as in --clean, instead of --noise")
    data.add_argument("--musdb", type=Path, help="music: use this folder of songs in the layout of MUSDB18-HQ")

    pack = commands.add_parser("pack", help="speech data as small pieces (Opus), to carry to another machine")
    pack.add_argument("--data", type=Path, default=Path("data"))
    pack.add_argument("--out", type=Path, required=True, help="folder of the pieces")
    pack.add_argument("--kbps", type=positive_float, default=28, help="Opus bit rate (default: 28)")
    pack.add_argument("--megabytes", type=positive_float, default=45, help="largest piece (default: 45)")

    unpack = commands.add_parser("unpack", help="a data folder from such pieces")
    unpack.add_argument("pieces", type=Path, nargs="+", metavar="PIECE")
    unpack.add_argument("--out", type=Path, default=Path("data"), help="data folder (default: data)")

    for name in ("enhancer", "htdemucs-mini"):
        run = commands.add_parser(name, help=f"train {name}")
        run.add_argument("--data", type=Path, default=Path("data"))
        run.add_argument("--out", type=Path, required=True, help="folder of the run")
        run.add_argument("--minutes", type=positive_float, help="training time, all resumptions together")
        run.add_argument("--steps", type=positive_int, help="training steps, instead of --minutes")
        run.add_argument("--resume", action="store_true", help="go on with the run in --out")
        run.add_argument("--start", type=Path, metavar="CHECKPOINT", help="weights to begin a new run with")
        run.add_argument("--device", default="auto", help="cpu, cuda or auto")
        run.add_argument("--threads", type=positive_int, help="CPU threads (default: all)")
        run.add_argument("--batch", type=positive_int, help="examples a step")
        run.add_argument("--seconds", type=positive_float, help="length of an example")
        run.add_argument("--lr", type=positive_float, help="peak learning rate")
        run.add_argument("--seed", type=whole_number, default=0)

    again = commands.add_parser("recover", help="prune a shipped model and train what is left, taught by the whole")
    again.add_argument("model", choices=["enhancer", "htdemucs-mini"])
    again.add_argument("--prune", type=float, default=0.5, metavar="RATIO")
    again.add_argument("--data", type=Path, default=Path("data"))
    again.add_argument("--out", type=Path, required=True, help="folder of the run")
    again.add_argument("--minutes", type=positive_float, required=True, help="training time, all resumptions together")
    again.add_argument("--resume", action="store_true", help="go on with the run in --out")
    again.add_argument("--checkpoint", type=Path, help="the unpruned weights (default: the shipped ones)")
    again.add_argument("--start", type=Path, metavar="CHECKPOINT", help="pruned weights to begin a new run with")
    again.add_argument("--threads", type=positive_int)
    again.add_argument("--batch", type=positive_int, help="examples a step")
    again.add_argument("--seconds", type=positive_float, help="length of an example")
    again.add_argument("--seed", type=whole_number, default=0)
    return top


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(argv)
    body = {"data": _data, "pack": _pack, "unpack": _unpack, "recover": _recover}.get(args.command, _train)

    def run() -> int:
        try:
            return body(args)
        except ModuleNotFoundError as error:
            raise InputError(f"{error.name} is missing: pip install 'stem-edge[training]'") from error

    return run_command("edge-train", run)


def _data(args: argparse.Namespace) -> int:
    from edge.training import rooms, songs, speech

    for folder in (args.clones, args.clean, args.noise, args.noisy, args.musdb):
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder} is not a folder")
    if args.kind == "music":
        if args.musdb:
            songs.add_folder(args.out, args.musdb)
        else:
            songs.build(args.out, args.songs)
        return 0
    if args.clean:
        speech.build_from_folders(args.out, args.clean, args.noise, args.noisy)
    elif args.noise or args.noisy:
        raise InputError("--noise and --noisy need --clean DIR")
    else:
        speech.build(args.out, args.clones)
    rooms.build(args.out, clones=args.clones, measured=not args.clean)
    return 0


def _pack(args: argparse.Namespace) -> int:
    from edge.training import pieces

    for piece in pieces.pack(args.data, args.out, args.kbps, args.megabytes):
        print(piece)
    return 0


def _unpack(args: argparse.Namespace) -> int:
    from edge.training import pieces

    pieces.unpack(args.pieces, args.out)
    print(f"data: {args.out}")
    return 0


def _train(args: argparse.Namespace) -> int:
    import torch

    from edge.training import loop, tasks

    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)  # the weights to start from
    make = {"enhancer": tasks.enhancer_task, "htdemucs-mini": tasks.separator_task}[args.command]
    options = {"batch": args.batch, "seconds": args.seconds, "learning_rate": args.lr}
    if args.command == "enhancer":  # mixes where it trains
        options["device"] = args.device
    task = make(args.data, **{k: v for k, v in options.items() if v is not None})
    if args.start and not args.resume:
        loop.start_from(task.model, args.start)
    schedule = loop.Schedule(minutes=args.minutes, steps=args.steps, seed=args.seed)
    loop.train(task, args.out, schedule, args.resume, args.device)
    print(f"weights: {args.out / (args.command + '.safetensors')}")
    return 0


def _recover(args: argparse.Namespace) -> int:
    import torch

    from edge.checkpoints import load_checkpoint
    from edge.compression.prune import prune
    from edge.training.recover import recover
    from edge.zoo import load_model

    if args.threads:
        torch.set_num_threads(args.threads)
    model = load_model(args.model, [args.checkpoint] if args.checkpoint else [])
    saved = args.out / f"{args.model}.safetensors"
    # a run that goes on keeps its widths, whatever the unpruned network has learned since
    before = saved if args.resume else args.start
    small = load_checkpoint(before) if before else prune(model.network, args.prune).model
    notes = {"training_data": model.training_data, "weights_license": model.weights_license}
    run = {"seed": args.seed, "batch": args.batch, "seconds": args.seconds, "out": args.out, "resume": args.resume}
    recover(small, model.network, args.data, args.minutes, args.prune, notes=notes, **run)
    print(f"weights: {saved}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
