"""How peers take turns, so that whatever else the machine does meets all of them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence

import psycopg

from benchmarks.harness import Bench
from benchmarks.peers.peer import Peer
from benchmarks.results import Outcome, number

FAULTS = (RuntimeError, OSError, psycopg.Error, subprocess.TimeoutExpired)

Measure = Callable[[Peer, int], Mapping[str, float]]


def take(outcome: Outcome, bench: Bench, peers: Sequence[Peer], what: str, measure: Measure) -> None:
    """Let all peers take a turn in each repetition; one that fails makes the run invalid, and the others go on."""
    for repetition in range(bench.repetitions):
        for peer in peers:
            case = f"{peer.name}, {what}" if what else peer.name
            try:
                metrics = measure(peer, repetition)
            except FAULTS as fault:
                outcome.problems.append(f"{case}, repetition {repetition + 1}: {fault}")
                continue
            outcome.add(case, repetition, metrics)
            what_first, value = next(iter(metrics.items()))
            where = f"{outcome.scenario} {repetition + 1}/{bench.repetitions}: {case}"
            bench.say(f"{where}: {what_first} {number(value)}")
