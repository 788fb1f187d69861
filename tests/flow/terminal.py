"""A command in a real terminal: a pty whose screen pyte keeps, with real keys."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator

import pyte
from command_line import CHOICES, until


class Terminal:
    """What a person sees of a command, and types."""

    def __init__(self, words: list[str], columns: int, lines: int) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._lock = threading.Lock()
        self._ours, theirs = pty.openpty()
        self._size(columns, lines)
        environment = {name: value for name, value in os.environ.items() if name not in {*CHOICES, "COLUMNS", "LINES"}}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pgq.cli", *words],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env={**environment, "TERM": "xterm-256color"},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - ^C comes from the terminal
        )  # fmt: skip
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._ours, 65_536):
                with self._lock:
                    self._stream.feed(data)

    @property
    def lines(self) -> list[str]:
        """The lines of the screen."""
        with self._lock:
            return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        """The whole screen."""
        return "\n".join(self.lines)

    def shows(self, *words: str) -> None:
        """Wait until all these words are on the screen."""
        try:
            until(lambda: all(word in self.text for word in words), 20)
        except AssertionError:
            raise AssertionError(f"{words} not on:\n{self.text}") from None

    def hides(self, word: str) -> None:
        """Wait until a word is not on the screen."""
        until(lambda: word not in self.text)

    def press(self, *keys: str) -> None:
        """Type."""
        for key in keys:
            os.write(self._ours, key.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Make the window another size."""
        with self._lock:
            self.screen.resize(lines, columns)
            self._size(columns, lines)
        os.kill(self.process.pid, signal.SIGWINCH)

    def _size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def left_as_it_was(self) -> bool:
        """Return whether the terminal's modes are those of before."""
        return termios.tcgetattr(self._theirs) == self.before


@contextlib.contextmanager
def terminal(*words: object, columns: int = 80, lines: int = 24) -> Iterator[Terminal]:
    """Run a command in a terminal; it is killed at the end if it still runs."""
    made = Terminal([str(word) for word in words], columns, lines)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()
