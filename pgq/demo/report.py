"""How the demo ended, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pgq.demo.check import delays
from pgq.demo.counts import DeadLetter
from pgq.demo.limits import Proof
from pgq.demo.progress import table
from pgq.demo.story import Ending

SHOWN = 10  # sentences of each kind


def as_json(ending: Ending) -> str:
    """Return the ending as one JSON object on one line."""
    verdict = ending.verdict
    counts = [asdict(queue) for queue in ending.counts]
    return json.dumps(
        {
            "lost": len(verdict.lost),
            "unexpected": len(verdict.unexpected),
            "duplicated": len(verdict.duplicated),
            "orders": len(ending.evidence.orders),
            "rolled_back": ending.rolled_back,
            "killed_worker": ending.watched.victim is not None,
            "seconds": round(ending.seconds, 1),
            "queues": {queue.pop("queue"): queue for queue in counts},
            "limits": [_limit(proof) for proof in ending.limits],
            "dead_letters": [_letter(ending, letter) for letter in ending.evidence.dead],
        }
    )


def as_text(ending: Ending) -> str:
    """Return the ending for a terminal."""
    lines = [table(ending.counts), "", *map(_dead_line, _letters(ending)), "", *complaints(ending)]
    victim = ending.watched.victim
    killed = f"worker {victim.pid} killed while it held {victim.held} tasks" if victim else "no worker killed"
    lines += [
        f"{len(ending.evidence.orders)} orders, {ending.rolled_back} rolled back; {killed}; {ending.seconds:.1f} s",
        *map(_limit_line, ending.limits),
        f"password resets waited {ending.waits.resets:.1f} s, newsletters {ending.waits.news:.1f} s",
        "lost {lost}, unexpected {unexpected}, duplicated {duplicated}".format(**_numbers(ending)),
        f"invoices and thumbnails are in {ending.evidence.folder}",
    ]
    return "\n".join(lines)


def complaints(ending: Ending) -> list[str]:
    """Return what is wrong, and what happened twice, a few sentences of each kind."""
    verdict = ending.verdict
    late = [] if ending.watched.finished else ["time ran out before every task had ended"]
    exceeded = [_exceeded(proof) for proof in ending.limits if not proof.held]
    return [*late, *exceeded, *_few("lost", verdict.lost), *_few("unexpected", verdict.unexpected),
            *_few("duplicated", verdict.duplicated)]  # fmt: skip


def _few(kind: str, sentences: list[str]) -> list[str]:
    more = [f"{kind}: and {len(sentences) - SHOWN} more"] if len(sentences) > SHOWN else []
    return [f"{kind}: {sentence}" for sentence in sentences[:SHOWN]] + more


def _numbers(ending: Ending) -> dict[str, int]:
    return {kind: len(sentences) for kind, sentences in asdict(ending.verdict).items()}


def _limit(proof: Proof) -> dict[str, Any]:
    share = proof.utilisation
    return {**asdict(proof), "utilisation": None if share is None else round(share, 4)}


def _limit_line(proof: Proof) -> str:
    share = "never reached" if proof.utilisation is None else f"{proof.utilisation:.1%} used while a backlog waited"
    fullest = f"{proof.fullest_window} began in the fullest window, {proof.fullest_received} by the server's clock"
    return f"{proof.name}: {proof.max} in {proof.per:g} s allowed, {fullest}, {share}"


def _exceeded(proof: Proof) -> str:
    return f"limit exceeded: {proof.fullest_window} of {proof.name} began within {proof.per:g} s, {proof.max} may"


def _letters(ending: Ending) -> list[dict[str, Any]]:
    return [_letter(ending, letter) for letter in ending.evidence.dead]


def _letter(ending: Ending, letter: DeadLetter) -> dict[str, Any]:
    waits = delays(ending.evidence.hooks, letter.order) if letter.queue == "webhooks" else []
    return {**asdict(letter), "delays": [round(wait, 1) for wait in waits]}


def _dead_line(letter: dict[str, Any]) -> str:
    waits = ", ".join(f"{wait:g}" for wait in letter["delays"])
    return (
        f"dead letter: order {letter['order']} after {letter['attempts']} attempts, {waits} s apart: {letter['error']}"
    )
