"""What the demo shows while it runs: a table that refreshes itself on a terminal, a line a second elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TextIO

from pgq.demo.counts import Counts, Throttle

BAR = 24  # characters
EVERY = 1.0  # seconds between two lines


class Progress:
    """Writes to a stream, usually stderr."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._started_at = monotonic()
        self._shown_at = 0.0
        self._drawing = ""  # the table on the terminal
        self._lines = 0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return monotonic() - self._started_at

    def say(self, sentence: str) -> None:
        """Write one sentence, above the table."""
        self._write(f"{self._erase()}{self.seconds:5.1f} s  {sentence}\n")

    def show(self, counts: Sequence[Counts], throttles: Sequence[Throttle] = ()) -> None:
        """Show how far every queue is, and which ones are at their limit."""
        full = {throttle.queue: sentence(throttle) for throttle in throttles}
        if self._live:
            self._draw("\n".join([table(counts, bars=True), *(f"{queue} {why}" for queue, why in full.items())]))
        elif monotonic() >= self._shown_at + EVERY:
            self._shown_at = monotonic()
            self.say("  ".join(_progress(c) + (f" ({full[c.queue]})" if c.queue in full else "") for c in counts))

    def clear(self) -> None:
        """Take the table away."""
        self._write(self._erase())

    def _draw(self, drawing: str) -> None:
        if self._lines and drawing == self._drawing:
            return
        self._write(f"{self._erase()}{drawing}\n")
        self._drawing, self._lines = drawing, drawing.count("\n") + 1

    def _erase(self) -> str:
        up = f"\x1b[{self._lines}F\x1b[J" if self._lines else ""
        self._lines = 0
        return up

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def table(counts: Sequence[Counts], *, bars: bool = False) -> str:
    """Return the counts as a table, one line a queue below its header."""
    header = f"{'queue':<10}{'pending':>9}{'processing':>12}{'completed':>11}{'failed':>8}{'dead':>6}"
    return "\n".join([header, *(_row(queue) + (_bar(queue) if bars else "") for queue in counts)])


def sentence(throttle: Throttle) -> str:
    """Say how full a queue's window is, and when the next task starts."""
    return f"{throttle.used}/{throttle.max} in {throttle.per:g} s, next in {throttle.wait:.1f} s"


def _progress(c: Counts) -> str:
    return f"{c.queue} {c.ended}/{c.total}"


def _row(c: Counts) -> str:
    return f"{c.queue:<10}{c.pending:>9}{c.processing:>12}{c.completed:>11}{c.failed:>8}{c.dead:>6}"


def _bar(c: Counts) -> str:
    full = BAR * c.ended // c.total
    return f"  {'█' * full}{'·' * (BAR - full)}"
