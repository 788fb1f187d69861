"""What reached one of the demo's servers."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

TICK = 10  # milliseconds: no kernel counts in coarser steps
LAST_ACK_RECEIVED = struct.Struct("@56xI")  # in what TCP_INFO of Linux tells: milliseconds since the last one


@dataclass(frozen=True, slots=True)
class Delivery:
    """One mail or one request: its order, its attempt, whether it was taken.

    `began` is when its handler began, as it says itself; `at` when the server first heard of it, see `came_at`. Both
    are monotonic seconds of this machine.
    """

    order: int
    attempt: int
    began: float
    at: float
    accepted: bool = True


class Socket(Protocol):
    """What a socket and asyncio's stand-in for it have in common."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """Ask the kernel."""


def came_at(connection: Socket) -> float:
    """Return when a connection came that was just accepted and has heard nothing from us (monotonic seconds).

    On a busy machine it may be accepted long after it came. Linux knows when that was, to a tick; a tick is granted,
    so that the answer is never too early. Elsewhere it is now.
    """
    if not hasattr(socket, "TCP_INFO"):
        return monotonic()
    told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, LAST_ACK_RECEIVED.size)
    now = monotonic()
    ago: int = LAST_ACK_RECEIVED.unpack(told)[0]
    return now - max(ago - TICK, 0) / 1000
