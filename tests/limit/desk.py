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

    def __init__(self, client: Any, prefix: str, plain: Any = None) -> None:
        self.client, self.prefix = client, prefix
        self.plain = plain or client  # may do anything: for what a test does behind the product's back
        self.now = 1_700_000_000_000_000
        self.prompt = True  # whatever is granted begins at once, and the server is told

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
        found = limit.taken(self.say(limit.take(one, TTL, permit, want, reports)))
        if found.granted and self.prompt:
            self.begin((one, permit, found.granted))
        return found

    def begin(self, *permits: tuple[Limit, str, int], ago: float = 0.0) -> None:
        """Say that all of some permits of so many tasks has begun, a while ago at the latest."""
        self.report(*((one, (permit, count, count, None, micro(ago))) for one, permit, count in permits))

    def acquire(self, *requests: Request) -> list[Answer]:
        found = limit.answers(requests, self.say(limit.acquire(self.prefix, TTL, requests)))
        assert found is not None
        begun = [request for request, one in zip(requests, found, strict=True) if one.granted and self.prompt]
        for own, permit, units in [(own, one.permit, one.units) for one in begun for own in one.limits]:
            self.report((own, (permit, units, 1, None, 0)))
        return found

    def report(self, *told: tuple[Limit, Told]) -> int:
        return int(self.say(limit.report(TTL, told)))

    def hold(self, *held: tuple[Limit, Held], complete: bool = False, units: bool = False, ttl: float = TTL) -> int:
        return int(self.say(limit.hold(ttl, held, held[0][0].place, complete=complete, units=units)))

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
        found = {key.decode() for key in self.plain.scan_iter(f"{self.prefix}:*")}
        return {key for key in found if not key.endswith((":born", ":memory", ":denials"))}


def granted(answers: list[Answer]) -> list[bool]:
    return [one.granted for one in answers]
