"""What reached one of the demo's servers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delivery:
    """One mail or one request: its order, its attempt, when it came (monotonic seconds), whether it was taken."""

    order: int
    attempt: int
    at: float
    accepted: bool = True
