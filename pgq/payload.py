"""Payloads: JSON that reads back exactly as it was written, or one sentence that says what does not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pgq.errors import InvalidPayload, shown

MAX_BYTES = 1_048_576
MAX_DEPTH = 100
LONGEST_PLACE = 200

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode(payload: Mapping[str, Any], max_bytes: int = MAX_BYTES) -> str:
    """Return the payload as JSON text.

    Raises InvalidPayload, naming the place, for whatever would not come back the same (NaN, tuples, keys that are no
    strings), that Postgres cannot hold (NUL, lone surrogates), or that is too deep or larger than `max_bytes`.
    """
    try:
        text = _encoder.encode(payload)
        size = len(text.encode())
        exact = json.loads(text) == payload
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidPayload(_complaint(payload, "payload", 0) or f"payload is not JSON: {error}") from None
    if size > max_bytes:
        raise InvalidPayload(f"payload must be at most {max_bytes} bytes, got {size}")
    suspicious = not exact or "\\u0000" in text or text.count("[") + text.count("{") > MAX_DEPTH
    if suspicious and (complaint := _complaint(payload, "payload", 0)):
        raise InvalidPayload(complaint)
    return text


def _complaint(value: Any, where: str, depth: int) -> str | None:
    """Return what is wrong with a value inside `depth` objects and lists, or None; called when something may be."""
    if depth >= MAX_DEPTH and isinstance(value, dict | list):
        return f"payload must be at most {MAX_DEPTH} levels deep, and is deeper at {where[:80]}"
    match value:
        case None | bool() | int():
            return _big_int(value, where)
        case float():
            return None if math.isfinite(value) else f"{where} must be a finite number, got {value}"
        case str():
            return _bad_text(value, where)
        case dict():
            return _first(_pair(key, item, where, depth) for key, item in value.items())
        case list():
            return _first(_complaint(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value))
        case _:
            return f"{where} must be a JSON value, got {type(value).__name__}"


def _pair(key: Any, item: Any, where: str, depth: int) -> str | None:
    if not isinstance(key, str):
        return f"{where} must have string keys, got {shown(key)}"
    return _bad_text(key, f"key {shown(key)} of {where}") or _complaint(item, _place(where, key), depth + 1)


def _place(where: str, key: str) -> str:
    """Return where a value is, fit for one sentence."""
    place = f"{where}.{key if key.isprintable() else ascii(key)}"
    return place if len(place) <= LONGEST_PLACE else f"{place[: LONGEST_PLACE - 1]}…"


def _big_int(value: bool | int | None, where: str) -> str | None:
    try:
        str(value)
    except ValueError:
        return f"{where} is an integer of too many digits"
    return None


def _bad_text(value: str, where: str) -> str | None:
    if "\0" in value:
        return f"{where} must not contain NUL"
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"{where} must be valid Unicode, got a lone surrogate"
    return None


def _first(complaints: Any) -> str | None:
    return next((complaint for complaint in complaints if complaint), None)
