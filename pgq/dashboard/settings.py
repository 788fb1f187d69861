"""Settings of one dashboard: who may come, under which name, and what is hidden from them."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

from pgq.dashboard.redact import Redaction
from pgq.errors import ConfigError

SHORTEST = 16  # characters of a token that somebody chose


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the application needs to know; `dsn` is the database, `token` what whoever steers must present."""

    dsn: str
    token: str
    cookie: str = "pgq"  # its name: cookies are shared by all ports of a host
    locked: bool = False  # whether reading needs the token too
    hosts: frozenset[str] = frozenset()  # names by which it may be reached, beside addresses and localhost
    redaction: Redaction = field(default_factory=Redaction)


def token_for(host: str, given: str | None) -> str:
    """Return the token to use at an address: the given one, or a fresh one where only this machine gets in.

    Raises ConfigError for one that can be guessed, and for none where others get in.
    """
    if given is not None and len(given) < SHORTEST:
        raise ConfigError(f"the token must have at least {SHORTEST} characters, got {len(given)}")
    if given is None and not is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines: give a token (--token, or better PGQ_DASHBOARD_TOKEN),"
            " or leave --host out to listen on 127.0.0.1 only"
        )
    return given or secrets.token_urlsafe(24)


def is_loopback(host: str) -> bool:
    """Return whether every address of a host name is one that only this machine reaches. Raises ConfigError."""
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", None, type=socket.SOCK_STREAM)  # noqa: S104 - only looked at
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"cannot listen on {host!r}: {error}") from None
    return all(ipaddress.ip_address(str(address[4][0]).partition("%")[0]).is_loopback for address in found)


def is_ours(header: str, hosts: Iterable[str]) -> bool:
    """Return whether a Host header names this dashboard: an address, localhost, or one of these names.

    A page elsewhere that has its own name resolve to this machine (DNS rebinding) comes with that name.
    """
    name = header.rpartition(":")[0] if header.rpartition(":")[2].isdigit() else header
    name = name.lower().rstrip(".")
    if name == "localhost" or name in hosts:
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
