"""The gate of a lane: what of the queue's own limit this process holds, and when it may ask for more.

Permits are asked for before a claim and named by the lease that this claim will write, so what Postgres and the
limiter know can be compared. A gate does no I/O: the limiter's loop asks, grants and reports for all gates.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from time import monotonic
from uuid import UUID

from pgq.grants import WHATEVER, Held, Limit, Taken, Told, queue_limit, since
from pgq.queue import Settings
from pgq.quota import Quota

LONGEST = 1.0  # seconds until a queue asks again in any case: another worker may have given back what it did not use
AHEAD = 0.2  # seconds that a permit asked for ahead may be on its way: where there is plenty, it may count for longer
PLENTY = 8  # so many times what a claim takes must be left over for asking ahead: all workers may do so at once
AGAIN = 0.025  # seconds until a queue asks again that waits for the end of a task, perhaps another worker's


@dataclass(slots=True)
class Batch:
    """The permits of one claim: `used` units count in the window, `open` tasks have not ended."""

    lease: UUID
    granted: int
    asked_at: float  # before the request was sent, so never later than the grant
    used: int
    open: int
    slack: float  # seconds from the grant in which what it holds may start
    spare: int = 0  # what the limiter could have given beside it
    start_by: float = 0.0  # until when what waits in the buffer may start
    ended_at: float = inf  # when the last of those that ended did so


class Gate:
    """One queue's permits in one process. Times are seconds of the monotonic clock."""

    def __init__(self, limit: Limit, mark: str = "") -> None:
        self.limit = limit
        self._mark = mark
        self.wake: Callable[[], None] = _nobody  # whoever asks and reports, once there is one
        self.ask: tuple[UUID, int] | None = None  # what the limiter's loop should ask for
        self.opens_at = 0.0
        self.short = ""  # why the last request got less than it asked for
        self.unknown = False  # the limiter must be told first what runs
        self.unheard = True  # nobody has asked yet whether it must be told: do so before a task has to wait for it
        self.keeps = inf  # seconds for which a permit is held without a renewal, at least
        self.start_by: float | None = None  # until when what waits in the buffer may start; None: no matter
        self.batches: dict[UUID, Batch] = {}
        self._ready: Batch | None = None
        self._claimed_at = 0.0
        self.ahead = False  # what is asked for is for the claim after the one whose tasks run
        self._appetite = 0  # of the last claim, more perhaps than there were permits for
        self._handed_out: Batch | None = None  # to a claim that is under way
        self._dirty: set[UUID] = set()

    @property
    def limited(self) -> bool:
        """Whether the queue has a limit of its own."""
        return self.limit.quota.binds

    @property
    def slack(self) -> float:
        """Seconds that what is asked for now may be on its way."""
        return max(self.limit.quota.slack, AHEAD) if self.ahead else self.limit.quota.slack

    @property
    def patience(self) -> float:
        """Seconds after which a permit must be made new before anything starts under it."""
        return self._patience(self.limit.quota.slack)

    def _patience(self, slack: float) -> float:
        return self.keeps if self.limit.quota.max is None else slack / 2

    @property
    def at_rest(self) -> bool:
        """Whether nothing was refused lately: an idle lane behind a resting gate is really idle."""
        return self.ask is None and not self.short

    @property
    def must_report(self) -> bool:
        """Whether the limiter does not know yet what ended."""
        return bool(self._dirty)

    @property
    def must_speak(self) -> bool:
        """Whether there is anything to say to the limiter."""
        return self.must_report or self.ask is not None or (self.limited and (self.unknown or self.unheard))

    def change(self, limit: Limit) -> None:
        """Take up changed settings; a queue that had no limit has tasks running that the limiter has not seen."""
        self.unknown = self.unknown or not self.limited
        self.limit, self.opens_at = limit, 0.0

    def adopt(self, leases: Mapping[UUID, int], now: float) -> None:
        """Count tasks as running that were claimed before there was a limit."""
        for lease, count in leases.items():
            self.batches.setdefault(lease, Batch(lease, count, now, count, count, self.limit.quota.slack))

    def closed(self, now: float) -> bool:
        """Whether nothing may be claimed now, whatever permits there are."""
        return self._ready is None and now < self.opens_at

    def next_look(self, look_at: float) -> float:
        """Return when a lane that would look at `look_at` can claim."""
        if self.ask is not None:
            return inf
        return look_at if self._ready is not None else max(look_at, self.opens_at)

    def permits(self, count: int, now: float) -> Batch | None:
        """Return permits for a claim now; None when they must be asked for, which this does where it may."""
        self._forget_failed()
        self._appetite = count
        batch, self._ready = self._ready, None
        if batch is not None and self._fresh(batch, now):
            self._handed_out = batch
            return batch
        if batch is not None:
            self._give_back(batch)
        if self.ask is None:
            self.ask, self.ahead = (self._new_lease(), count), False
            self.wake()
        return None

    def _new_lease(self) -> UUID:
        """Return a random lease that begins with our mark; 74 of its bits are random at least."""
        return UUID(hex=self._mark + uuid.uuid4().hex[len(self._mark) :])

    def _fresh(self, batch: Batch, now: float) -> bool:
        return now <= batch.asked_at + batch.slack / 2

    def take_back(self, now: float = inf) -> None:
        """Give back permits that nobody wants any more; those that are still fresh and plenty may wait for a claim."""
        self._forget_failed()
        if self._ready is not None and not (self._ready.spare and self._fresh(self._ready, now)):
            self._give_back(self._ready)
            self._ready = None

    def _give_back(self, batch: Batch) -> None:
        batch.used = batch.open = 0
        self._changed(batch)

    def _forget_failed(self) -> None:
        """Give back the permits of a claim that was lost with its connection; whatever it took never starts here."""
        batch, self._handed_out = self._handed_out, None
        if batch is not None:
            self._give_back(batch)

    def grant(self, taken: Taken, asked_at: float, now: float) -> None:
        """Take the limiter's answer to what was asked."""
        if self.ask is None:
            return
        lease, want = self.ask
        self.ask = None
        if taken.granted:
            granted = taken.granted
            batch = Batch(lease, granted, asked_at, granted, granted, self.slack, taken.spare)
            self._ready = self.batches[lease] = batch
        self.short = taken.short
        if taken.granted < want:
            self.opens_at = now + (AGAIN if taken.wait is None else min(taken.wait, LONGEST))

    def ask_anew(self) -> None:
        """Ask under another name: what was asked may be granted late, after holds have lapsed."""
        if self.ask is not None:
            lease, want = self.ask
            self.batches[lease] = Batch(lease, 0, 0.0, 0, 0, 0.0)
            self._dirty.add(lease)
            self.ask = self._new_lease(), want

    def want_nothing(self) -> None:
        """Give back what is not used, and what may be granted to a request whose answer will not be heard."""
        self.take_back()
        self.ask_anew()
        self.ask = None

    def close(self, until: float) -> None:
        """Claim nothing until a moment."""
        self.opens_at = max(self.opens_at, until)

    def reopen(self) -> None:
        """Claim again at once what nothing else forbids."""
        self.opens_at = 0.0

    def claimed(self, batch: Batch, count: int, now: float = inf) -> None:
        """Say how many tasks a claim found; the other permits go back.

        Where there is plenty and claims follow each other at once, those of the next are asked for already: a limit
        that is far from binding makes no claim wait for it.
        """
        self._handed_out = None
        batch.used = batch.open = count
        if count:
            batch.start_by = batch.asked_at + self._patience(batch.slack)
            self.must_start(batch.start_by)
        if count < batch.granted:
            self._changed(batch, refund=True)
            self.short = ""  # the queue is empty: it is not the limit that binds
        elif self._hurries(batch, now) and self.ask is None:
            self.ask, self.ahead = (self._new_lease(), self._appetite), True
            self.wake()
        self._claimed_at = now

    def _hurries(self, batch: Batch, now: float) -> bool:
        plenty = batch.spare >= PLENTY * max(self._appetite, batch.granted)
        return plenty and now < self._claimed_at + AHEAD / 2

    def ended(self, lease: UUID, *, started: bool = True) -> None:
        """Say that a task of this lease ended, or went back without having started."""
        batch = self.batches.get(lease)
        if batch is not None and batch.open > 0:
            batch.open -= 1
            batch.used -= not started
            batch.ended_at = monotonic()
            self._changed(batch, refund=not started)

    def _changed(self, batch: Batch, *, refund: bool = False) -> None:
        woken = bool(self._dirty) and not self.short  # once is enough: it costs 2.6 us (2026-11-26)
        self._dirty.add(batch.lease)
        if self.short == "concurrency" or (refund and self.short == "rate"):
            self.opens_at = 0.0  # our own end, or what we did not use, makes room: ask at once
        if not woken:
            self.wake()

    def reports(self, now: float) -> list[Told]:
        """Return what the limiter should know of permits that changed."""
        changed = [self.batches[lease] for lease in self._dirty]
        return [(batch.lease.hex, batch.used, batch.open, since(batch.ended_at, now)) for batch in changed]

    def reported(self, reports: list[Told]) -> None:
        """Forget what the limiter knows now, unless it changed meanwhile."""
        for name, used, open_, *_ in reports:
            batch = self.batches[UUID(name)]
            if (batch.used, batch.open) == (used, open_):
                self._dirty.discard(batch.lease)
                if not open_:
                    del self.batches[batch.lease]
        if self._dirty:
            self.wake()

    def renewed(self, held: list[Held]) -> None:
        """Take note that holds were renewed: what ended meanwhile may have come to life again, and is reported anew."""
        for name, _, open_ in held:
            lease = UUID(name)
            batch = self.batches.setdefault(lease, Batch(lease, 0, 0.0, WHATEVER, 0, 0.0))
            if batch.open != open_:
                self._dirty.add(lease)
        if self._dirty:
            self.wake()

    def held(self) -> list[Held]:
        """Return every permit that is held."""
        return [(batch.lease.hex, batch.used, batch.open) for batch in list(self.batches.values()) if batch.open]

    def good_until(self, leases: Iterable[UUID]) -> float:
        """Return until when all of these may start; what is not known here may not at all."""
        known = (self.batches.get(lease) for lease in leases)
        return min((0.0 if batch is None else batch.start_by for batch in known), default=inf)

    def refreshed(self, leases: Iterable[UUID], now: float) -> None:
        """Note that permits count from now."""
        for lease in leases:
            if (batch := self.batches.get(lease)) is not None:
                batch.start_by = now + self.patience
        self.must_start(now + self.patience)

    def must_start(self, by: float) -> None:
        """Note until when something that waits in the buffer may start."""
        self.start_by = by if self.start_by is None else min(self.start_by, by)


def own_limit(prefix: str, settings: Settings) -> Limit:
    """Return the limit of a queue as its settings say."""
    return queue_limit(prefix, settings.name, Quota(settings.rate_max, settings.rate_per, settings.concurrency))


def _nobody() -> None:
    """Wake nobody."""
