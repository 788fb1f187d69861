"""The live view on a terminal: draw, wait for a key or for news, draw again."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from queue import Empty
from time import monotonic

from rich.console import Console

from pgq.cli.failure import Failure
from pgq.cli.keyboard import Keyboard
from pgq.cli.top.draw import frame
from pgq.cli.top.look import Looker
from pgq.cli.top.state import State

OFTEN = 1.0  # seconds: the time that the database has been away goes on


def show(dsn: str, interval: float) -> None:
    """Show the live view until q or ^C."""
    console, state, looker = Console(highlight=False), State(), Looker(dsn, interval)
    if console.is_dumb_terminal:
        raise Failure(f"pgq top cannot draw on a terminal of TERM={os.environ.get('TERM')}")
    looker.start()
    try:
        with _ends_in_order(), Keyboard() as keyboard, console.screen() as screen, _resized(looker):
            while not state.ended:
                screen.update(frame(state, console.width, console.height))
                for key in keyboard.keys(OFTEN, looker.wake):
                    if (deed := state.press(key)) is not None:
                        state.said = "…"
                        looker.do(deed)
                _hear(state, looker)
    except (EOFError, KeyboardInterrupt):
        pass
    finally:
        looker.stop()


def _hear(state: State, looker: Looker) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(looker.wake, 4096)
    with contextlib.suppress(Empty):
        while True:
            state.hear(looker.news.get_nowait(), monotonic())


@contextlib.contextmanager
def _resized(looker: Looker) -> Iterator[None]:
    """Draw anew, at once, when the terminal has another size: a signal alone would not end the wait for a key."""
    before = signal.signal(signal.SIGWINCH, lambda *_: looker.poke())
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextlib.contextmanager
def _ends_in_order() -> Iterator[None]:
    """Give the terminal back when told to end, or when it is closed."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
