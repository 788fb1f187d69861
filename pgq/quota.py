"""Limits as words: what one limit allows, and how a task names the limits it is under."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgq.errors import InvalidOption, shown
from pgq.queue import LONGEST_KEY, Rate, check_count, check_name

MICROSECONDS = 1_000_000
MOST_KEYS = 8
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `max` units in any `per` seconds, and at most `slots` tasks at once; None: no such limit."""

    max: int | None = None
    per: float | None = None
    slots: int | None = None

    @property
    def slack(self) -> float:
        """Seconds that a permit may be on its way: until the handler starts, and what it calls has heard of it.

        A twentieth of the window up to 0.2 s, for long windows 1 % up to 0.5 s, at least 50 ms.
        """
        per = self.per or 0.0
        return max(min(per / 20, 0.2), min(per / 100, 0.5), 0.05)

    @property
    def prompt(self) -> float:
        """Seconds from a request until a claim under its permits has ended, or what it found is looked into again.

        Whoever tells a server that lost its memory what runs waits that long: then Postgres knows of every such claim.
        """
        return self.slack / 2 + 0.05

    @property
    def binds(self) -> bool:
        """Whether it limits anything."""
        return self.max is not None or self.slots is not None

    def words(self, slack: float | None = None) -> tuple[str, str, str, str]:
        """Return it as the scripts read it: max, per, slack (its own for None), slots; microseconds, '' for none."""
        slack_word = "" if self.max is None else str(round((slack or self.slack) * MICROSECONDS))
        per = "" if self.per is None else str(round(self.per * MICROSECONDS))
        return _word(self.max), per, slack_word, _word(self.slots)


@dataclass(frozen=True, slots=True)
class KeyLimit:
    """A kind of key, such as `customer` or `host`, and what each key of that kind may do."""

    name: str
    quota: Quota

    @classmethod
    def declare(cls, name: str, rate: Rate | None, concurrency: int | None) -> KeyLimit:
        """Return a checked kind. Raises InvalidOption."""
        if check_name("limit", name) == "queue":
            raise InvalidOption("limit name must not be 'queue': queues have limits of their own")
        if ":" in name:
            raise InvalidOption(f"limit name must not contain a colon, got {shown(name)}")
        if rate is None and concurrency is None:
            raise InvalidOption(f"limit {shown(name)} needs a rate, a concurrency or both")
        if concurrency is not None:
            check_count(f"concurrency of limit {shown(name)}", concurrency)
        if rate is None:
            return cls(name, Quota(slots=concurrency))
        return cls(name, Quota(rate.max, float(rate.per), concurrency))


def check_keys(keys: object) -> tuple[str, ...]:
    """Return limit keys (`kind:key`, one or several) as a tuple. Raises InvalidOption, naming the one that is wrong."""
    given: Iterable[Any] = (keys,) if isinstance(keys, str) else keys if isinstance(keys, Sequence) else (keys,)
    found = tuple(dict.fromkeys(check_key(key) for key in given))
    if not 1 <= len(found) <= MOST_KEYS:
        raise InvalidOption(f"limit_key must be 1 to {MOST_KEYS} keys, got {len(found)}")
    return found


def check_key(key: object) -> str:
    """Return one `kind:key`, or raise InvalidOption."""
    if not isinstance(key, str) or not key.isprintable() or not len(key) <= LONGEST_KEY:
        raise InvalidOption(f"limit_key must be printable text of at most {LONGEST_KEY} characters, got {shown(key)}")
    kind, colon, rest = key.partition(":")
    if not (kind and colon and rest):
        raise InvalidOption(f"limit_key must look like 'kind:key', got {shown(key)}")
    return key


def kind_of(key: str) -> str:
    """Return the kind of a `kind:key`."""
    return key.partition(":")[0]


def fill(templates: Sequence[str], payload: Mapping[str, Any]) -> tuple[str, ...]:
    """Return limit keys with each `{field}` replaced by that argument of the task.

    Raises InvalidOption for a field that is missing or no text or number.
    """

    def field(match: re.Match[str]) -> str:
        value = payload.get(match[1])
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise InvalidOption(f"limit_key needs {match[1]!r} to be text or a whole number, got {shown(value)}")
        return value if isinstance(value, str) else int.__repr__(value)  # an enum's member is not what its str() says

    return tuple(check_key(_FIELD.sub(field, template)) for template in templates)


def _word(number: int | None) -> str:
    return "" if number is None else str(number)
