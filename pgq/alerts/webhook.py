"""A webhook: one POST of JSON. Anything but a 2xx is a failure; redirects are not followed.

The address is resolved once, and the connection goes to what was looked at: link-local addresses, where clouds keep
the credentials of their machines, are refused, whatever name leads there. Errors name the target, never its URL.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import json
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pgq.alerts.note import DeliveryError, Note
from pgq.alerts.secret import secret
from pgq.errors import InvalidOption
from pgq.version import __version__

PATIENCE = 10.0  # seconds for each step: connecting, sending, the answer


def check(settings: Mapping[str, Any]) -> None:
    """Raise InvalidOption for a URL that cannot be used; one named by an environment variable is checked when used."""
    if not settings["url"].startswith("env:"):
        _split(settings["url"])


def shown(settings: Mapping[str, Any]) -> str:
    """Return where it goes, without what may be secret: paths of webhooks often are."""
    url = settings["url"]
    return str(url) if url.startswith("env:") else f"{_split(url).scheme}://{_split(url).netloc}/…"


def send(settings: Mapping[str, Any], note: Note) -> None:
    """Deliver a note. Raises DeliveryError, InvalidOption."""
    url = settings["url"]
    parts = _split(secret(url.removeprefix("env:")) if url.startswith("env:") else url)
    content = json.dumps(note.document, ensure_ascii=False).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"pgq/{__version__}",
        "Idempotency-Key": note.id,
        **{name: secret(variable) for name, variable in settings.get("headers", {}).items()},
    }
    if settings.get("secret"):
        signature = hmac.new(secret(settings["secret"]).encode(), content, hashlib.sha256)
        headers["X-Pgq-Signature"] = f"sha256={signature.hexdigest()}"
    try:
        status = _post(parts, content, headers)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DeliveryError(f"webhook {note.target}: {_kind(error)}") from None
    if not 200 <= status < 300:  # noqa: PLR2004 - the range of success
        raise DeliveryError(f"webhook {note.target}: answered {status}")


def _post(parts: SplitResult, content: bytes, headers: Mapping[str, str]) -> int:
    port = parts.port or (443 if parts.scheme == "https" else 80)
    assert parts.hostname is not None  # noqa: S101 - checked when it was split
    connection = http.client.HTTPConnection(parts.hostname, port, timeout=PATIENCE)
    plain = _connect(parts.hostname, port)
    try:
        if parts.scheme == "https":
            plain = ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
        connection.sock = plain
        path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        connection.request("POST", path, content, {"Host": parts.netloc, **headers})
        return connection.getresponse().status
    finally:
        connection.close()
        plain.close()


def _connect(host: str, port: int) -> socket.socket:
    """Connect to the first address of a host that answers. Raises OSError."""
    failed: OSError = OSError("its host has no address")
    for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if ip.is_link_local or ip.is_multicast or ip.is_unspecified:
            failed = OSError("its host has a link-local address, which is refused")
            continue
        try:
            return socket.create_connection((str(address[0]), port), PATIENCE)
        except OSError as error:
            failed = error
    raise failed


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or not url.isprintable() or " " in url:
        raise InvalidOption("the URL of a webhook must be http:// or https:// and a host, or env:VARIABLE")
    if parts.username is not None or parts.password is not None:
        raise InvalidOption("the URL of a webhook must hold no password: name a variable with --header instead")
    return parts


def _kind(error: Exception) -> str:
    """Return what went wrong, from texts that hold nothing of the request."""
    if isinstance(error, TimeoutError):
        return f"no answer within {PATIENCE:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if isinstance(error, OSError):
        return (error.strerror or str(error) or type(error).__name__).splitlines()[0]
    return type(error).__name__
