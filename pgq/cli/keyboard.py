"""Single keys from a terminal, by their names, as they are pressed."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from time import monotonic
from types import TracebackType
from typing import Any, Self

# What terminals send for keys that are no letters; xterm, the Linux console, screen, tmux and PuTTY agree on these.
SEQUENCES = {
    b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[C": "right", b"\x1b[D": "left",
    b"\x1bOA": "up", b"\x1bOB": "down", b"\x1bOC": "right", b"\x1bOD": "left",
    b"\x1b[5~": "page up", b"\x1b[6~": "page down", b"\x1b[H": "home", b"\x1b[F": "end",
    b"\x1b[1~": "home", b"\x1b[4~": "end", b"\x1bOH": "home", b"\x1bOF": "end", b"\x1b[Z": "back tab",
}  # fmt: skip
SINGLE = {"\t": "tab", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x1b": "escape"}


def decode(data: bytes) -> list[str]:
    """Return the names of the keys that sent these bytes; an unknown sequence is no key."""
    keys = []
    while data:
        known = next((sequence for sequence in SEQUENCES if data.startswith(sequence)), None)
        if known is not None:
            keys.append(SEQUENCES[known])
            data = data[len(known) :]
        elif data.startswith((b"\x1b[", b"\x1bO")):
            length = next((n + 1 for n in range(2, len(data)) if 0x40 <= data[n] <= 0x7E), len(data))  # noqa: PLR2004
            data = data[length:]
        else:
            size = next((n for n, mark in ((4, 0xF0), (3, 0xE0), (2, 0xC0)) if data[0] >= mark), 1)
            letter, data = data[:size].decode(errors="replace"), data[size:]
            keys.append(SINGLE.get(letter, letter if letter.isprintable() else ""))
    return [key for key in keys if key]


class Keyboard:
    """Reads keys while it is entered; `there` says whether there is a keyboard at all.

    Signals (^C) stay signals. The terminal is as it was when it is left, however that happens.
    """

    def __init__(self) -> None:
        self.there = sys.stdin.isatty()
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        if self.there:
            import termios
            import tty

            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._before:
            import termios

            with contextlib.suppress(termios.error):  # the terminal went away
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def keys(self, seconds: float, wake: int | None = None) -> list[str]:
        """Return the keys that are pressed, waiting for the first; none after `seconds`, or when `wake` can be read.

        Raises EOFError when the terminal went away.
        """
        until = monotonic() + seconds
        sources = [sys.stdin.fileno(), *([] if wake is None else [wake])]
        while True:
            ready = select.select(sources, [], [], max(until - monotonic(), 0))[0]
            if sources[0] in ready:
                data = os.read(sources[0], 1024)
                if not data:
                    raise EOFError
                return decode(data)
            if ready or monotonic() >= until:
                return []
