"""A mail, by the server that PGQ_SMTP_URL of the worker names: smtp://, smtp+starttls:// or smtps://user:password@host."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from pgq.alerts.note import DeliveryError, Note
from pgq.alerts.secret import secret
from pgq.errors import InvalidOption

SERVER = "PGQ_SMTP_URL"
PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}\Z")
PATIENCE = 10.0  # seconds for each step
NAME = socket.gethostname()  # smtplib would ask the resolver for more of it, for as long as that takes


def check(settings: Mapping[str, Any]) -> None:
    """Raise InvalidOption for what is no address."""
    for address in (*settings["to"], settings["from"]):
        if not _ADDRESS.match(address):
            raise InvalidOption(f"a mail address must look like ops@example.org, got {address!r:.80}")
    if not settings["to"]:
        raise InvalidOption("a mail needs an address to go to")


def shown(settings: Mapping[str, Any]) -> str:
    """Return whom it goes to."""
    return ", ".join(settings["to"])


def send(settings: Mapping[str, Any], note: Note) -> None:
    """Deliver a note. Raises DeliveryError, InvalidOption."""
    check(settings)
    url = _server()
    try:
        with _connect(url) as server:
            if url.username:
                server.login(unquote(url.username), unquote(url.password or ""))
            server.send_message(_message(settings, note))
    except smtplib.SMTPResponseException as error:  # its text may repeat what was sent
        raise DeliveryError(f"mail {note.target}: the server answered {error.smtp_code}") from None
    except (smtplib.SMTPException, OSError) as error:
        strerror = getattr(error, "strerror", None)
        raise DeliveryError(f"mail {note.target}: {strerror or type(error).__name__}") from None


def _message(settings: Mapping[str, Any], note: Note) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = note.subject
    message["From"] = settings["from"]
    message["To"] = ", ".join(settings["to"])
    message["Message-ID"] = f"<{note.id}@pgq>"
    message["Auto-Submitted"] = "auto-generated"  # no holiday answers
    message.set_content(note.text)
    return message


def _connect(url: SplitResult) -> smtplib.SMTP:
    assert url.hostname is not None  # noqa: S101 - checked when it was read
    port = url.port or PORTS[url.scheme]
    if url.scheme == "smtps":
        secure = ssl.create_default_context()
        return smtplib.SMTP_SSL(url.hostname, port, local_hostname=NAME, timeout=PATIENCE, context=secure)
    server = smtplib.SMTP(url.hostname, port, local_hostname=NAME, timeout=PATIENCE)
    if url.scheme == "smtp+starttls":
        try:
            server.starttls(context=ssl.create_default_context())
        except (smtplib.SMTPException, OSError):
            server.close()
            raise
    return server


def _server() -> SplitResult:
    """Return the server's URL. Raises DeliveryError, without quoting it."""
    try:
        url = urlsplit(secret(SERVER))
        usable = url.scheme in PORTS and url.hostname and (url.port or 1)
    except ValueError:
        usable = False
    if not usable:
        raise DeliveryError(f"{SERVER} must look like smtp+starttls://user:password@host:587")
    return url
