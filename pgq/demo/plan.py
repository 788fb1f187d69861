"""What one run of the demo is to do."""

from __future__ import annotations

from dataclasses import dataclass

from pgq.errors import ConfigError

FEWEST = 20  # tasks: enough orders for one that is declined and two that nobody accepts


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where it runs (without a DSN: on the embedded servers), how long it may take, how much it does, how fast.

    `speed` divides the windows of the limits, so that several of them pass while one watches. Raises ConfigError.
    """

    dsn: str = ""
    redis_url: str = ""
    seconds: float = 100.0
    tasks: int = 625
    speed: float = 4.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.tasks < FEWEST:
            raise ConfigError(f"tasks must be at least {FEWEST}, got {self.tasks}")
        if not self.speed > 0:
            raise ConfigError(f"speed must be above 0, got {self.speed:g}")
        if self.dsn and not self.redis_url:
            raise ConfigError("the demo's queues are limited, which needs Redis: give --redis-url or PGQ_REDIS_URL")
