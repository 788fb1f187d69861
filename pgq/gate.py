"""The gate of a lane: what of the queue's own limit this process holds, and when it may ask for more.

Permits are asked for before a claim and named by the lease that this claim will write, so what Postgres and the
limiter know can be compared. A gate does no I/O: the limiter's loop asks, grants and reports for all gates.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from math import inf
from uuid import UUID

from pgq.grants import WHATEVER, Batch, Held, Limit, Taken, Told, queue_limit
from pgq.queue import Settings
from pgq.quota import Quota

LONGEST = 1.0  # seconds until a queue asks again in any case: another worker may have given back what it did not use
AHEAD = 1.0  # seconds that a permit asked for ahead may be on its way: where there is plenty, it may count for longer
PLENTY = 8  # so many times what a claim takes must be left over for asking ahead: all workers may do so at once
AGAIN = 0.025, 0.5  # seconds until a queue asks again that waits for the end of a task, perhaps another worker's
AGAIN_SHARE = 1 / 16  # of the time it has waited: slots that are held for long are asked for less and less often


class Gate:
    """One queue's permits in one process. Times are seconds of the monotonic clock."""

    def __init__(self, limit: Limit, mark: str = "") -> None:
        self.limit = limit
        self.rated = limit.quota.max is not None  # it limits how often tasks start: the limiter must know when they did
        self._mark = mark
        self.wake: Callable[[], None] = _nobody  # whoever asks and reports, once there is one
        self.ask: tuple[UUID, int] | None = None  # what the limiter's loop should ask for
        self.opens_at = 0.0  # when to ask again after less was granted than wanted
        self.shut_until = 0.0  # nothing is claimed till then, whatever permits there are
        self._waits_since = 0.0  # while it gets nothing
        self.short = ""  # why the last request got less than it asked for
        self.unknown = False  # the limiter must be told first what runs
        self.unheard = True  # nobody has asked yet whether it must be told: do so before a task has to wait for it
        self.keeps = inf  # seconds for which a permit is held without a renewal, at least
        self.start_by: float | None = None  # until when what waits in the buffer may start; None: no matter
        self.batches: dict[UUID, Batch] = {}
        self._ready: Batch | None = None
        self._spare = 0  # how many more permits there were at the last grant
        self._full_at = -inf  # when a claim last found as many tasks as it had permits for
        self.ahead = False  # what is asked for is for the claim after the one under way
        self._handed_out: Batch | None = None  # to a claim that is under way
        self._dirty: set[UUID] = set()
        self._last: Batch | None = None  # of the task that began or ended last
        self._noted: Batch | None = None  # of the end noted last; None after a report
        self._begun: set[UUID] = set()  # all of it has begun, which the limiter does not know yet

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
        return slack / 2 if self.rated else self.keeps

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
        news = self.must_report or bool(self._begun) or self.ask is not None
        return news or (self.limited and (self.unknown or self.unheard))

    def change(self, limit: Limit) -> None:
        """Take up changed settings; a queue that had no limit has tasks running that the limiter has not seen."""
        self.unknown = self.unknown or not self.limited
        self.limit, self.rated, self.opens_at = limit, limit.quota.max is not None, 0.0

    def adopt(self, leases: Mapping[UUID, int], now: float) -> None:
        """Count tasks as running that were claimed before there was a limit."""
        for lease, count in leases.items():
            self.batches.setdefault(lease, Batch(lease, count, now, count, count, self.limit.quota.slack))

    def closed(self, now: float) -> bool:
        """Whether nothing may be claimed now."""
        return now < self.shut_until or (self._ready is None and now < self.opens_at)

    def next_look(self, look_at: float) -> float:
        """Return when a lane that would look at `look_at` can claim."""
        if self.ask is not None:
            return inf
        return max(look_at, self.shut_until, self.opens_at if self._ready is None else 0.0)

    def permits(self, count: int, now: float) -> Batch | None:
        """Return permits for a claim now; None when they must be asked for, which this does where it may.

        Where there is plenty and claims follow each other at once, those of the next are asked for already, to come
        while this one is under way: a limit that is far from binding makes no claim wait for it.
        """
        self._forget_failed()
        batch, self._ready = self._ready, None
        if batch is not None and not self._fresh(batch, now):
            self._give_back(batch)
            batch = None
        hurries = self._plenty(count) and now < self._full_at + AHEAD / 2
        if self.ask is None and (batch is None or hurries):
            self.ask, self.ahead = (self._new_lease(), count), hurries
            self.wake()
        self._handed_out = batch
        return batch

    def _new_lease(self) -> UUID:
        """Return a random lease that begins with our mark; 74 of its bits are random at least."""
        return UUID(hex=self._mark + uuid.uuid4().hex[len(self._mark) :])

    def _plenty(self, count: int) -> bool:
        return self._spare >= PLENTY * count

    def _fresh(self, batch: Batch, now: float) -> bool:
        return now <= batch.asked_at + batch.slack / 2

    def take_back(self, now: float = inf) -> None:
        """Give back permits that nobody wants any more; those that are still fresh and plenty may wait for a claim."""
        self._forget_failed()
        ready = self._ready
        if ready is not None and not (self._plenty(ready.granted) and self._fresh(ready, now)):
            self._give_back(ready)
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
        if granted := taken.granted:
            self._ready = self.batches[lease] = Batch(lease, granted, asked_at, granted, granted, self.slack)
        self.short, self._spare = taken.short, taken.spare
        if taken.granted or now > self.opens_at + LONGEST:
            self._waits_since = now
        if taken.granted < want:
            again = min(max((now - self._waits_since) * AGAIN_SHARE, AGAIN[0]), AGAIN[1])
            self.opens_at = now + (again if taken.wait is None else min(taken.wait, LONGEST))

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
        self.shut_until = max(self.shut_until, until)

    def reopen(self, until: float) -> None:
        """Claim again at once what was closed until that moment; where somebody closed it for longer, it stays so."""
        self.opens_at = 0.0
        if self.shut_until <= until:
            self.shut_until = 0.0

    def claimed(self, batch: Batch, count: int, now: float = -inf) -> None:
        """Say how many tasks a claim found; the other permits go back."""
        self._handed_out = None
        batch.used = batch.open = batch.waiting = count
        if count:
            late = now > batch.asked_at + self.limit.quota.prompt  # somebody may have told what runs without it
            batch.start_by = 0.0 if late else batch.asked_at + self._patience(batch.slack)
            self.must_start(batch.start_by)
        if count < batch.granted:
            self._changed(batch, refund=True)
            self.short = ""  # the queue is empty: it is not the limit that binds
            now = -inf
        self._full_at = now

    def begun(self, lease: UUID, count: int, now: float) -> None:
        """Say that some more tasks of this lease have begun, which they had before this moment."""
        batch = self._of(lease)
        if batch is not None and batch.waiting > 0:
            batch.begun_at = now
            self._fewer(batch, count)

    def _fewer(self, batch: Batch, count: int) -> None:
        batch.waiting = max(batch.waiting - count, 0)
        if not batch.waiting and batch.open and self.rated:
            self._begun.add(batch.lease)
            self.wake()

    def ended(self, lease: UUID, now: float, *, started: bool = True) -> None:
        """Say that a task of this lease ended now, or went back without having started."""
        batch = self._of(lease)
        if batch is not None and batch.open > 0:
            batch.open -= 1
            batch.used -= not started
            if not started and batch.waiting > 0:
                self._fewer(batch, 1)
            batch.ended_at = now
            if self._noted is not batch or self.short or not started:
                self._changed(batch, refund=not started)

    def _of(self, lease: UUID) -> Batch | None:
        """Return the batch of a lease: mostly that of the task before, and to hash a UUID takes 0.2 us (2026-11-26)."""
        if self._last is None or self._last.lease is not lease:
            self._last = self.batches.get(lease)
        return self._last

    def _changed(self, batch: Batch, *, refund: bool = False) -> None:
        woken = bool(self._dirty) and not self.short  # once is enough: it costs 2.6 us (2026-11-26)
        self._dirty.add(batch.lease)
        self._noted = batch
        if self.short == "concurrency" or (refund and self.short == "rate"):
            self.opens_at = 0.0  # our own end, or what we did not use, makes room: ask at once
        if not woken:
            self.wake()

    def reports(self, now: float) -> list[Told]:
        """Return what the limiter should know of permits that changed."""
        return [self.batches[lease].told(now) for lease in self._dirty | self._begun]

    def reported(self, reports: list[Told]) -> None:
        """Forget what the limiter knows now, unless it changed meanwhile."""
        self._noted = None
        for name, used, open_, *ages in reports:
            batch = self.batches[UUID(name)]
            if ages[-1] is not None:
                self._begun.discard(batch.lease)
            if (batch.used, batch.open) == (used, open_):
                self._dirty.discard(batch.lease)
                if not open_:
                    self._begun.discard(batch.lease)
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
