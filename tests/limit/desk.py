"""Where a test asks for permits: every verb, under a clock of the test's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pgq import grants, limit
from pgq.grants import Answer, Held, Limit, Request, Standing, Taken, Told
from pgq.limit import micro
from pgq.limiter import call
from pgq.quota import KeyLimit, Quota
from pgq.script import Verb

TTL = 30.0


class Desk:
    """One key prefix and one clock, in whole microseconds so that edges are exact."""

    def __init__(self, client: Any, prefix: str) -> None:
        self.client, self.prefix = client, prefix
        self.now = 1_700_000_000_000_000

    def say(self, verb: Verb) -> Any:
        """Carry out a call at this clock's time."""
        return call(self.client, replace(verb, args=(self.now, *verb.args[1:])))

    def wait(self, seconds: float, micros: int = 0) -> None:
        """Let time pass; backwards too."""
        self.now += micro(seconds) + micros

    def queue(self, most: int | None = None, per: float | None = None, slots: int | None = None) -> Limit:
        """A queue's limit; its server knows what runs."""
        found = grants.queue_limit(self.prefix, "q", Quota(most, per, slots))
        self.client.set(found.born, 1)
        return found

    def key(self, key: str, most: int | None = None, per: float | None = None, slots: int | None = None) -> Limit:
        """The limit of one key of kind k."""
        return grants.key_limit(self.prefix, f"k:{key}", KeyLimit("k", Quota(most, per, slots)))

    def remember(self) -> None:
        """Tell the server that nothing runs under any key."""
        self.client.set(self.key("any").born, 1)

    def take(self, one: Limit, permit: str, want: int = 1, reports: tuple[Told, ...] = ()) -> Taken:
        return limit.taken(self.say(limit.take(one, TTL, permit, want, reports)))

    def acquire(self, *requests: Request) -> list[Answer]:
        found = limit.answers(requests, self.say(limit.acquire(self.prefix, TTL, requests)))
        assert found is not None
        return found

    def report(self, *told: tuple[Limit, Told]) -> int:
        return int(self.say(limit.report(TTL, told)))

    def hold(self, *held: tuple[Limit, Held], complete: bool = False, units: bool = False, ttl: float = TTL) -> int:
        return int(self.say(limit.hold(ttl, held, held[0][0].born, complete=complete, units=units)))

    def stamp(self, one: Limit, *permits: str) -> list[int]:
        return list(self.say(limit.stamp(one, TTL, permits)))

    def pause(self, seconds: float, *limits: Limit) -> float:
        return int(self.say(limit.pause(TTL, seconds, limits))) / 1_000_000

    def queue_up(self, one: Limit, *tails: tuple[int, float]) -> float:
        return int(self.say(limit.queue_up(one, TTL, tails))) / 1_000_000

    def look(self, *limits: Limit) -> list[Standing]:
        return limit.standings(self.say(limit.look(TTL, limits)))

    def sums(self, one: Limit) -> tuple[int, int]:
        """Units in the window and tasks that run."""
        (found,) = self.look(one)
        return found.used, found.running

    def keys(self) -> set[str]:
        """What the server keeps under the prefix, without what says that it remembers and what it counted."""
        found = {key.decode() for key in self.client.scan_iter(f"{self.prefix}:*")}
        return {key for key in found if not key.endswith((":born", ":denials"))}


def granted(answers: list[Answer]) -> list[bool]:
    return [one.granted for one in answers]
