"""Bytes that terminals send become keys, whatever comes in one piece."""

from __future__ import annotations

import pytest

from pgq.cli.keyboard import decode


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1bOBj", ["up", "down", "j"]),
        (b"\x1b", ["escape"]),
        (b"\t\r\x7f\x08", ["tab", "enter", "backspace", "backspace"]),
        ("é/ß".encode(), ["é", "/", "ß"]),
        ("日🙂".encode(), ["日", "🙂"]),
        (b"\x1b[15~x", ["x"]),  # F5 means nothing here
        (b"\x1b[1;5Cx", ["x"]),  # nor does control with an arrow
        (b"\x00\x01", []),
        (b"\xff", ["\ufffd"]),
    ],
)
def test_bytes_become_keys(data: bytes, keys: list[str]) -> None:
    assert decode(data) == keys
