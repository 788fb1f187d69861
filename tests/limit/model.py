"""One limit in plain Python, said the slow way: what the scripts must do. Times are microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from pgq.grants import Request
from pgq.limit import micro
from pgq.quota import Quota


@dataclass
class Model:
    """A log of granted units, tokens that lapse, a pause."""

    quota: Quota
    ttl: int
    log: dict[str, tuple[int, int]] = field(default_factory=dict)  # permit: its units, the moment they count from
    tokens: dict[str, tuple[int, int]] = field(default_factory=dict)  # permit: its tasks that run, when they lapse
    granted: set[str] = field(default_factory=set)  # those of the tokens that were granted, and not told by force
    open: set[str] = field(default_factory=set)  # those of them of which something may still start
    apart: dict[str, int] = field(default_factory=dict)  # permit in the log: its units that are there by themselves
    until: int = 0
    seen: int = 0

    @property
    def rated(self) -> bool:
        return self.quota.max is not None

    @property
    def per(self) -> int:
        return micro(self.quota.per or 0)

    @property
    def slack(self) -> int:
        return micro(self.quota.slack) if self.rated else 0

    @property
    def used(self) -> int:
        return sum(units for units, _ in self.log.values())

    @property
    def running(self) -> int:
        return sum(count for count, _ in self.tokens.values())

    def come(self, now: int) -> None:
        """Let the clock arrive at `now`; everything keeps its distance where that is backwards."""
        back = max(self.seen - now, 0)
        self.seen = now
        self.until -= back
        self.log = {p: (units, at - back) for p, (units, at) in self.log.items()}
        self.tokens = {p: (count, at - back) for p, (count, at) in self.tokens.items()}
        for permit in self.open & self.log.keys():  # it stays where it may start: not beyond the lapse of its hold
            units, at = self.log[permit]
            lapses = self.tokens[permit][1]
            if lapses <= now:
                self.log[permit] = units, max(at, lapses)
            elif at + self.per < now:
                self.log[permit] = units, now
        self.log = {p: (units, at) for p, (units, at) in self.log.items() if at + self.per >= now}
        self.tokens = {p: (count, at) for p, (count, at) in self.tokens.items() if at > now}
        self._forget()
        self.apart = {p: units for p, units in self.apart.items() if p in self.log}

    def room(self) -> tuple[float, float]:
        """Return how many units and tasks may start."""
        if self.until > self.seen:
            return 0, 0
        units = inf if self.quota.max is None else max(self.quota.max - self.used, 0)
        slots = inf if self.quota.slots is None else max(self.quota.slots - self.running, 0)
        return units, slots

    def hold(self, permit: str, units: int, count: int) -> None:
        """Write a permit down by force."""
        if self.rated and units:
            self.log[permit] = units, self.seen + self.slack
        if count:
            self.tokens[permit] = count, self.seen + self.ttl

    def renewed(self, permit: str) -> bool:
        """Whether a permit is held as it was granted; it counts from now on then."""
        if permit not in self.granted or (self.rated and permit not in self.log):
            return False
        if self.rated:
            self.log[permit] = self.log[permit][0], self.seen + self.slack
        return True

    def take(self, permit: str, want: int) -> int:
        """Return how many of `want` are granted under one name."""
        if self.renewed(permit):
            return self.tokens[permit][0]
        self.let_go(permit)
        granted = int(min(want, *self.room()))
        self.grant(permit, granted, granted)
        return granted

    def grant(self, permit: str, units: int, count: int) -> None:
        """Give a permit that is not held."""
        self.apart.pop(permit, None)
        self.hold(permit, units, count)
        self.granted |= {permit} & self.tokens.keys()
        self.open |= {permit} & self.tokens.keys()

    def let_go(self, permit: str) -> None:
        """Forget a hold."""
        self.tokens.pop(permit, None)
        self._forget()

    def _forget(self) -> None:
        self.granted &= self.tokens.keys()
        self.open &= self.tokens.keys()

    def report(self, permit: str, units: int, count: int, ago: int | None = 0, begun: int | None = None) -> None:
        """Bring a permit down to what it used and still runs; what ended before the rest counts by itself."""
        before, at = self.log.pop(permit, (0, 0))
        apart = self.apart.pop(permit, 0)
        latest: float = inf if permit in self.open else at
        if begun is not None:
            at = latest = max(at, self.seen - begun)
            self.open -= {permit} if before else set()
        left, ended = min(before, max(units - apart, 0)), int(min(latest, at if ago is None else self.seen - ago))
        if ago is not None and count and left > count:
            apart += left - count
            there, _ = self.log.get(f"{permit}#{apart}", (0, 0))
            self.log[f"{permit}#{apart}"] = there + left - count, ended
            left = count
        if left:
            self.log[permit] = left, at if count else ended
            self.apart[permit] = apart
        ran, lapses = self.tokens.pop(permit, (0, 0))
        if ran and count:
            self.tokens[permit] = min(count, ran), lapses
        self._forget()

    def pause(self, length: int) -> None:
        """Let nothing start for a while."""
        self.until = max(self.until, self.seen + length)


def acquire(models: dict[str, Model], requests: Sequence[Request]) -> list[int]:
    """Return for each request 1, 0, or -1 for never; who waits lets nobody pass at its limits."""
    blocked: set[str] = set()
    return [_decide(models, request, blocked) for request in requests]


def _decide(models: dict[str, Model], request: Request, blocked: set[str]) -> int:
    names = [limit.name for limit in request.limits]
    lacking = [name for name in names if not models[name].renewed(request.permit)]
    for name in lacking:
        models[name].let_go(request.permit)
    if any(request.units > (models[name].quota.max or inf) for name in lacking):
        return -1
    short = {name for name in lacking if not _fits(models[name], request.units, blocked=name in blocked)}
    if short:
        blocked |= short
        for name in set(names) - set(lacking):
            models[name].report(request.permit, 0, 0)
        return 0
    for name in lacking:
        models[name].grant(request.permit, request.units, 1)
    return 1


def _fits(model: Model, units: int, *, blocked: bool) -> bool:
    free, slots = model.room()
    return not blocked and free >= units and slots >= 1
