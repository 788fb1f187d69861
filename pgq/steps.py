"""Steps of the database's clock: told from how much it moved between two looks, by our own monotonic clock.

Why: leases and timeouts are read off the database's clock. When that is set ahead, every lease looks over at once
although nobody died; when it is set back, the dead look alive, and work that was done "in the future" is not due.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

log = logging.getLogger("pgq")

SLACK = timedelta(seconds=1)  # clocks are slewed, and looks take a moment
NEVER = datetime(1, 1, 2, tzinfo=UTC)


class ClockSteps:
    """What one process knows of the steps. `before` and `after` are its monotonic clock around a look."""

    def __init__(self) -> None:
        self.before = NEVER  # what started earlier, by the database's clock, started before the last step ahead
        self.ahead = 0.0  # seconds that all steps ahead came to
        self._seen: tuple[datetime, float, float] | None = None

    def look(self, now: datetime, before: float, after: float) -> float:
        """Take a reading of the database's clock; returns the seconds of a step since the last one, 0 for none."""
        last, self._seen = self._seen, (now, before, after)
        if last is None:
            return 0.0
        least, most = (timedelta(seconds=passed) for passed in (before - last[2], after - last[1]))
        moved = now - last[0]
        if moved > most + SLACK:
            step = moved - most
            self.before, self.ahead = now - step, self.ahead + step.total_seconds()
            log.warning("the clock of Postgres went ahead by %.1f s", step.total_seconds())
            return step.total_seconds()
        if moved < least - SLACK:
            log.warning("the clock of Postgres went back by %.1f s", (least - moved).total_seconds())
            return (moved - least).total_seconds()
        return 0.0
