"""Sealed payloads: AES-256-GCM under keys with names, so that what a task carries cannot be read in the database.

A sealed payload is `{"pgq:sealed":["<key id>","<base64 of nonce and ciphertext>"]}`. It is bound to its queue and task:
put into another task's row it does not open. Unique keys and limit keys are not sealed, for the database compares them.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from typing import TYPE_CHECKING, Any

from pgq.errors import ConfigError, InvalidPayload, PayloadSealed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SEALED = '{"pgq:sealed":'  # what the text of a sealed payload begins with
BYTES = 32  # of a key
NONCE = 12
_ID = re.compile(r"[A-Za-z0-9_.-]{1,40}")


class Keys:
    """The keys of payloads by id; the first one seals, all of them open.

    `text` is `id:base64,id:base64,…`, each of 32 random bytes. Raises ConfigError for anything else, and where the
    package `cryptography` is not installed; quotes no key.
    """

    def __init__(self, text: str) -> None:
        self._keys: dict[str, AESGCM] = {}
        for place, word in enumerate(text.split(","), 1):
            name, _, secret = word.strip().partition(":")
            if not _ID.fullmatch(name) or name in self._keys:
                raise ConfigError(f"payload key {place} must be written id:base64, under an id of its own")
            self._keys[name] = _cipher(name, secret)
        self._first = next(iter(self._keys))

    def seal(self, text: str, queue: str, task: str) -> str:
        """Return a payload, given as JSON text, sealed for a task of this name in this queue."""
        nonce = os.urandom(NONCE)
        sealed = nonce + self._keys[self._first].encrypt(nonce, text.encode(), _bound(queue, task))
        return f'{SEALED}["{self._first}","{base64.b64encode(sealed).decode()}"]}}'

    def open(self, text: str, queue: str, task: str) -> str:
        """Return what was sealed. Raises PayloadSealed without its key, InvalidPayload where it does not open."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra

        name, sealed = _parts(text)
        if name not in self._keys:
            raise PayloadSealed(without(name))
        try:
            return self._keys[name].decrypt(sealed[:NONCE], sealed[NONCE:], _bound(queue, task)).decode()
        except (InvalidTag, ValueError):
            message = f"the sealed payload does not open with key {name!r}: one of them was changed"
            raise InvalidPayload(message) from None


def keys(text: str) -> Keys | None:
    """Return the keys that a text holds; None for an empty one."""
    return Keys(text) if text.strip() else None


def without(name: str) -> str:
    """Say that a key is missing."""
    return f"its payload is sealed with key {name!r}, which this process does not have (PGQ_PAYLOAD_KEYS)"


def key_of(text: str) -> str | None:
    """Return the id of the key that a payload is sealed with; None where it is not."""
    if not text.startswith(SEALED):
        return None
    try:
        return _parts(text)[0]
    except InvalidPayload:
        return None


def shown(payload: Any) -> str:
    """Return a payload as people read it; of a sealed one the key."""
    if isinstance(payload, dict) and (name := key_of(json.dumps(payload, separators=(",", ":")))):
        return f"(sealed with key {name})"
    return json.dumps(payload, indent=2, ensure_ascii=False)


def _parts(text: str) -> tuple[str, bytes]:
    try:
        name, sealed = json.loads(text)["pgq:sealed"]
        return str(name), base64.b64decode(sealed, validate=True)
    except (ValueError, TypeError, KeyError, binascii.Error):
        raise InvalidPayload("the sealed payload is malformed") from None


def _bound(queue: str, task: str) -> bytes:
    return json.dumps([queue, task]).encode()


def _cipher(name: str, secret: str) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError("payload keys need the package cryptography: pip install 'pgq-tasks[encryption]'") from None
    try:
        key = base64.b64decode(secret, validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != BYTES:
        raise ConfigError(f"payload key {name!r} must be {BYTES} bytes in base64")
    return AESGCM(key)
