"""https for the home network: a certificate that is given or made, and the addresses under which people get here."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import socket
import ssl
from pathlib import Path

from edge.errors import EdgeError, InputError

DAYS = 825  # that browsers let a certificate live
PROBE = ("192.0.2.1", 9)  # of RFC 5737: nothing is sent there, but the system says from where it would be


def tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    """The server's end of https. Raises InputError where the files are not a certificate and its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for file in (cert, key):
        if not file.is_file():
            raise InputError(f"{file}: no such file")
    try:
        context.load_cert_chain(cert, key, password=lambda: "")  # never ask for one on the terminal
    except (ssl.SSLError, ValueError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{cert} and {key}: not a certificate and its key (PEM, without password): {reason}"
        ) from error
    return context


def self_signed() -> tuple[Path, Path]:
    """Files of a certificate for this machine's names and addresses; made once, and again when these change.

    Raises InputError where the package that makes it is missing, EdgeError where it cannot be kept.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise InputError('--self-signed needs cryptography: pip install "stem-edge[serve]"') from error

    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stem-edge"
    cert, key = folder / "edge-serve.crt", folder / "edge-serve.key"
    host = socket.gethostname()
    names = sorted({"localhost", host, f"{host.partition('.')[0]}.local"})
    addresses = sorted({"127.0.0.1", "::1", *lan_addresses()})
    wanted = x509.SubjectAlternativeName(
        [*map(x509.DNSName, names), *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses)]
    )
    now = datetime.datetime.now(datetime.UTC)
    with contextlib.suppress(OSError, ValueError, x509.ExtensionNotFound):
        kept = x509.load_pem_x509_certificate(cert.read_bytes())
        covers = kept.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        lasts = kept.not_valid_after_utc - now > datetime.timedelta(days=7)
        if lasts and key.is_file() and set(wanted) <= set(covers):
            return cert, key
    secret = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"edge-serve on {host}"[:64])])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(wanted, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(secret, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        key.unlink(missing_ok=True)
        with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret.private_bytes(serialization.Encoding.PEM, *form))
        cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    except OSError as error:
        raise EdgeError(f"cannot keep the certificate in {folder}: {error.strerror or error}") from error
    return cert, key


def lan_addresses() -> list[str]:
    """This machine's IPv4 addresses that others can reach, the one on the way out first."""
    found = []
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(PROBE)
        found.append(probe.getsockname()[0])
    with contextlib.suppress(OSError):
        found += [str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    usable = (address for address in found if not ipaddress.ip_address(address).is_loopback)
    return list(dict.fromkeys(address for address in usable if address != "0.0.0.0"))


def places(listening: list[tuple[str, int]]) -> list[str]:
    """HOST:PORT under which the server is reached; a wildcard address becomes those of this machine."""
    found = []
    for address, port in listening:
        if ipaddress.ip_address(address.partition("%")[0]).is_unspecified:
            found += [f"{each}:{port}" for each in (*lan_addresses(), "127.0.0.1")]
        else:
            found.append(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
    return list(dict.fromkeys(found))


def qr_code(text: str) -> str | None:
    """Lines of a QR code for a terminal; None where the package that draws it is missing."""
    try:
        import segno
    except ImportError:
        return None
    import io

    out = io.StringIO()
    segno.make(text, error="l").terminal(out, compact=True, border=2)
    return out.getvalue()
