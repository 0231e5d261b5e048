"""edge-serve: enhance the speech of several clients at once, on this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge.backends import BACKENDS
from edge.console import make_parser, positive_int, processors, run_command
from edge.errors import InputError
from edge.web.runtime import PACKAGE

EXAMPLES = """\
  edge-serve bundles/enhancer                            then open http://127.0.0.1:8765/
  edge-serve bundles/enhancer --port 0 --threads 2       any free port; two blocks at a time
  edge-serve bundles/enhancer --host 192.168.1.20        other machines may use it, without a password
  edge-serve bundles/enhancer --host 0.0.0.0 --self-signed   phones of this network too, by https
  edge-serve bundles/* --static site                     a page for any web host, which needs no server
"""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = make_parser(
        "edge-serve",
        "Serve an enhancer's bundle on this machine: a web page (microphone in, enhanced out) and a WebSocket for "
        "programs, for several clients at once. Ctrl-C stops it. Where the browser can, the page computes itself; a "
        "separator's bundle beside the enhancer's is for such pages alone.",
        EXAMPLES,
    )
    parser.add_argument(
        "bundles",
        type=Path,
        nargs="+",
        metavar="BUNDLE",
        help="an enhancer's: a folder or NAME.edge; for pages, a separator's",
    )
    parser.add_argument("--static", type=Path, metavar="DIR", help="write the page, for any web host, and end")
    parser.add_argument(
        "--runtime",
        type=Path,
        metavar="DIR",
        help=f"where {PACKAGE} lies; default: as npm gives it, kept by --static for later",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address or name to listen on; default: %(default)s")
    parser.add_argument("--port", type=_port, default=8765, help="0 is any free one; default: %(default)s")
    parser.add_argument("--backend", choices=tuple(BACKENDS), help="default: onnx where the bundle has it")
    parser.add_argument("--threads", type=positive_int, help="for inference; default: all processors")
    parser.add_argument(
        "--max-clients", type=positive_int, metavar="N", default=32, help="served at once; default: %(default)s"
    )
    parser.add_argument("--cert", type=Path, metavar="FILE", help="certificate (PEM) for https; with --key")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its private key")
    parser.add_argument(
        "--self-signed",
        action="store_true",
        help="https by a certificate made here: phones give their microphone to no other page",
    )
    args = parser.parse_args(argv)
    if bool(args.cert) != bool(args.key):
        parser.error("--cert and --key go together")
    if args.cert and args.self_signed:
        parser.error("--self-signed makes a certificate: leave --cert and --key out")
    return run_command(
        "edge-serve",
        lambda: _write(args) if args.static else _serve(args),
    )


def _write(args: argparse.Namespace) -> None:
    from edge.bundle import open_bundle
    from edge.serve.site import write_site
    from edge.web.runtime import fetch_runtime, find_runtime

    bundles = [open_bundle(path) for path in args.bundles]
    runtime = find_runtime(args.runtime)
    if runtime is None:
        print(f"fetching {PACKAGE} with npm, once", file=sys.stderr)
        runtime = fetch_runtime()
    size = write_site(args.static, bundles, runtime)
    names = " and ".join(bundle.manifest.name for bundle in bundles)
    print(f"{args.static}: a page with {names}, {size / 1e6:.1f} MB, for any web host (https, or localhost)")


def _serve(args: argparse.Namespace) -> None:
    try:
        import websockets  # noqa: F401
    except ImportError as error:
        raise InputError('edge-serve needs its extra: pip install "stem-edge[serve]"') from error

    from edge.bundle import open_bundle
    from edge.runtime.graphs import default_backend
    from edge.serve.pages import is_loopback
    from edge.serve.protocol import PATH, Limits
    from edge.serve.secure import places, qr_code, self_signed, tls_context
    from edge.serve.server import serve_until_stopped
    from edge.serve.service import Service
    from edge.serve.site import site_files
    from edge.web.runtime import find_runtime

    host, port = args.host, args.port
    bundles = [open_bundle(path) for path in args.bundles]
    enhancers = [bundle for bundle in bundles if bundle.manifest.task == "enhance"]
    bundle = enhancers[0] if enhancers else bundles[0]  # refused by the service
    runtime = find_runtime(args.runtime)
    site = site_files(bundles, runtime if "onnx" in bundle.manifest.graphs else None, server=True)
    try:
        local = is_loopback(host)
    except OSError as error:
        raise InputError(f"--host {host}: {error.strerror or error}") from error
    backend = args.backend or default_backend(bundle)
    service = Service(bundle, backend, args.threads or processors(), Limits(clients=args.max_clients), site)

    cert, key = self_signed() if args.self_signed else (args.cert, args.key)
    tls = tls_context(cert, key) if cert else None

    def announce(addresses: list[tuple[str, int]]) -> None:
        if not local:
            lacks = "no password" if tls else "no password and no encryption"
            print(
                f"edge-serve: warning: {host} can be reached from other machines, and there is {lacks}", file=sys.stderr
            )
        print(f"{bundle.manifest.name} ({service.backend}, {service.threads} thread(s)); Ctrl-C stops")
        found, s = places(addresses), "s" if tls else ""
        for place in found:
            print(f"http{s}://{place}/  ws{s}://{place}{PATH}", flush=True)
        if args.self_signed:
            print("Browsers warn of the certificate once, as nobody vouches for it: choose to go on.")
        if not local and sys.stdout.isatty() and (code := qr_code(f"http{s}://{found[0]}/")):
            print(code, flush=True)

    serve_until_stopped(service, host, port, announce, tls)


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError("must be 0 to 65535")
    return value


if __name__ == "__main__":
    sys.exit(main())
