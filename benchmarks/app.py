"""The app under measurement: one queue, and handlers that do next to nothing but note that they ran."""

from __future__ import annotations

import asyncio
import hashlib
import os
import struct
from array import array
from pathlib import Path
from time import monotonic_ns

import pgq
from benchmarks.tally import Tally

QUEUE = "bench"
NAP = 0.001  # seconds that `nap` waits
ROUNDS = 4_000  # of hashing in `crunch`; about 1 ms of CPU
REST = 0.02  # seconds that `rest` waits
NAPS = "PGQ_BENCH_NAPS"  # names the directory where each process that runs `rest` notes what it ran
CRUNCHED = "PGQ_BENCH_CRUNCHED"  # names the file where the children that run `crunch` note what they ran

app = pgq.App("benchmarks.app:app")
queue = app.queue(QUEUE)

executed = array("q")  # `i` of every execution in this process, in order
started_at = array("q")  # when each began, nanoseconds of CLOCK_MONOTONIC, which all processes of a host share
_gates = [asyncio.Event()]
tallies: list[Tally] = []  # the one of this process, for the handlers that note in it


@queue.task
async def noop(i: int) -> None:
    """Do nothing; the two notes cost about 0.2 microseconds."""
    executed.append(i)
    started_at.append(monotonic_ns())


@queue.task
async def count(i: int) -> None:
    """Do nothing; noted in a tally, for runs that are long."""
    tallies[0].note(i)


@queue.task
async def timed(i: int, at: int) -> None:
    """Do nothing; a tally notes how long it is since `at`, nanoseconds of CLOCK_MONOTONIC."""
    tallies[0].note(i)
    tallies[0].note_wait(monotonic_ns() - at)


@queue.task
async def nap(i: int) -> None:
    """Wait a moment, as for an answer over the network."""
    executed.append(i)
    started_at.append(monotonic_ns())
    await asyncio.sleep(NAP)


@queue.task
async def rest(i: int) -> None:
    """Wait as for an answer from far away; noted in a file of the process, whatever then becomes of that."""
    with (Path(os.environ[NAPS]) / str(os.getpid())).open("ab", buffering=0) as notes:
        notes.write(b"%d\n" % i)
    await asyncio.sleep(REST)


@queue.task
async def hold(i: int) -> None:
    """Wait until the gate is opened; noted in a tally."""
    tallies[0].note(i)
    await _gates[-1].wait()


def open_gate() -> None:
    """Let everything go that waits at the gate; whatever comes later waits for the next time."""
    _gates.append(asyncio.Event())
    _gates.pop(0).set()


@queue.task(process=True)
def crunch(i: int) -> None:
    """Keep one processor busy, in a child process."""
    work()
    with Path(os.environ[CRUNCHED]).open("ab", buffering=0) as notes:
        notes.write(struct.pack("qq", i, monotonic_ns()))  # whole: appends this small do not mix


def notes() -> dict[str, list[int]]:
    """Return what ran in this process and its children, and when, but for what was noted in a tally."""
    pairs = struct.iter_unpack("qq", Path(os.environ[CRUNCHED]).read_bytes()) if CRUNCHED in os.environ else ()
    crunched = list(pairs)
    return {
        "executed": executed.tolist() + [i for i, _ in crunched],
        "started_at": started_at.tolist() + [at for _, at in crunched],
    }


def work() -> bytes:
    """Do what `crunch` does."""
    return hashlib.pbkdf2_hmac("sha256", b"pgq", b"bench", ROUNDS)
