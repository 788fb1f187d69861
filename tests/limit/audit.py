"""What a rate promises, checked from outside: starts in true time, whatever the server's clock said."""

from __future__ import annotations

from dataclasses import dataclass, field

from pgq.limit import micro
from pgq.quota import Quota


@dataclass
class Grant:
    """Units that may start at any moment from `first` to `last`, both included."""

    units: int
    first: int
    last: int
    due: int = 0  # nothing starts later, once its holder has said that all has begun, and not when


@dataclass
class Audit:
    """Every grant of one limit that reached somebody who may use it."""

    quota: Quota
    grants: dict[str, Grant] = field(default_factory=dict)
    ended: dict[str, list[Grant]] = field(default_factory=dict)  # by permit: of tasks that ended before the others

    def granted(self, permit: str, units: int, now: int, lapses: int = 0) -> None:
        """Note a grant; a first grant under this name that reached nobody counts no more.

        Until somebody says that it has begun it may start as long as it is held.
        """
        due = now + micro(self.quota.slack)
        self.grants[permit] = Grant(units, now, max(due, lapses), due)

    def reported(self, permit: str, units: int, count: int, now: int) -> None:
        """Note how many units started: those of tasks that ended will not start any more."""
        if permit in self.grants:
            grant, ended = self.grants[permit], self.ended.setdefault(permit, [])
            grant.units = min(grant.units, max(units - sum(one.units for one in ended), 0))
            over = Grant(max(grant.units - count, 0) if count else 0, grant.first, min(grant.last, now))
            grant.units -= over.units
            ended.append(over)
            grant.last = min(grant.last, now) if count == 0 else grant.last

    def stamped(self, permit: str, now: int) -> None:
        """Note that what was granted may start from now on."""
        grant = self.grants[permit]
        grant.due = now + micro(self.quota.slack)
        grant.last = max(grant.last, grant.due)

    def held(self, permit: str, lapses: int) -> None:
        """Note that a permit is held, and has not begun, until some moment."""
        self.grants[permit].last = max(self.grants[permit].last, lapses)

    def begun(self, permit: str, at: int) -> None:
        """Note that all of a permit has begun, at some moment at the latest."""
        if permit in self.grants:
            grant = self.grants[permit]
            grant.last = min(grant.last, max(grant.due, at))

    def fullest(self) -> int:
        """Return the most units that may have started in any window of length `per`, both ends included.

        Windows that begin where a grant ends are enough: any other can be moved to the right until the first of its
        grants would leave it, and loses none by that.
        """
        per, grants = micro(self.quota.per or 0), self._used()
        return max((_inside(grants, one.last, one.last + per) for one in grants), default=0)

    @property
    def windows(self) -> int:
        """How many windows that is."""
        return len(self._used())

    def _used(self) -> list[Grant]:
        every = [*self.grants.values(), *(one for ended in self.ended.values() for one in ended)]
        return [grant for grant in every if grant.units]


def _inside(grants: list[Grant], begin: int, end: int) -> int:
    return sum(grant.units for grant in grants if grant.last >= begin and grant.first <= end)
