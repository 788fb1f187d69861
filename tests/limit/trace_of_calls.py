"""Random traces of calls under a clock that jumps, each reply compared with the model.

A trace yields calls and is sent their replies, so that one runner can carry on many traces in one round trip.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from random import Random
from typing import Any

from audit import Audit
from model import Model, acquire

from pgq import grants, limit
from pgq.grants import Limit, Request
from pgq.limit import micro
from pgq.quota import KeyLimit, Quota
from pgq.script import Verb

Step = Generator[tuple[Any, ...], Any, None]
TTL = 10.0
SECOND = 1_000_000
EPOCH = 1_700_000_000 * SECOND
AEON = 1_000_000 * SECOND


def command(verb: Verb, now: int) -> tuple[Any, ...]:
    """Return a call as the server's command, under a clock of our own."""
    return "EVALSHA", verb.sha, len(verb.keys), *verb.keys, now, *verb.args[1:]


def some_quota(rng: Random) -> Quota:
    """Return a small rate, a small concurrency or both."""
    rated, slotted = rng.choice([(True, False), (False, True), (True, True)])
    per = rng.choice([0.03, 1.0, 7.0, 20.0]) if rated else None
    return Quota(rng.randint(1, 6) if rated else None, per, rng.randint(1, 4) if slotted else None)


class Trace:
    """Some limits in one hash slot, and the people who take, lose replies, report late and come back."""

    def __init__(self, rng: Random, prefix: str) -> None:
        self.rng, self.prefix = rng, prefix
        names = [f"k:{number}" for number in range(rng.randint(1, 3))]
        kinds = [KeyLimit("k", some_quota(rng)) for _ in names]
        self.limits = {name: grants.key_limit(prefix, name, kind) for name, kind in zip(names, kinds, strict=True)}
        self.models = {name: Model(one.quota, micro(TTL)) for name, one in self.limits.items()}
        self.audits = {name: Audit(one.quota) for name, one in self.limits.items() if one.quota.max}
        self.true = self.clock = EPOCH
        self.count = 0
        self.mine: dict[tuple[str, str], list[int]] = {}  # (limit, permit): units used and tasks that run, as we know
        self.since: dict[tuple[str, str], int] = {}  # the same: no task of it ended before that and was not reported
        self.begun: dict[tuple[str, str], int] = {}  # the same, of those we know to have begun: until when
        self.lost: list[Any] = []  # calls whose replies never came

    def story(self, steps: int) -> Step:
        """Live through some steps, end everything, leave nothing."""
        born = f"{self.prefix}:{{keys}}:born"
        yield "SET", born, 1
        acts = [self.take, self.acquire, self.report, self.again, self.stamp, self.renew, self.force, self.pause]
        acts.append(self.begin)
        for _ in range(steps):
            self.tick()
            yield from self.rng.choices(acts, [6, 6, 6, 3, 2, 1, 0.3, 0.3, 4])[0]()
            if self.rng.random() < 0.2:
                yield from self.look()
        yield from self.end()
        yield "DEL", born, f"{self.prefix}:{{keys}}:denials"
        for name, audit in self.audits.items():
            assert audit.fullest() <= (audit.quota.max or 0), f"{name} {audit}"

    def tick(self) -> None:
        """Let time pass, often to the very edge of something; now and then set the clock back."""
        rng, model = self.rng, self.models[self.some()]
        edges = [at + model.per + rng.randint(0, 1) for _, at in model.log.values()]
        edges += [at - rng.randint(0, 1) for _, at in model.tokens.values()]
        pace = [0, 1, model.slack // 2, model.slack, model.per // 3, model.per, rng.randint(0, 2 * model.per + 9)]
        ahead = [edge - self.clock for edge in edges if edge >= self.clock]
        step = rng.choice(ahead) if ahead and rng.random() < 0.4 else rng.choice(pace)
        self.true += step
        self.clock += step
        if rng.random() < 0.04:
            self.clock -= rng.choice([1, model.slack, model.per, 3600 * SECOND, rng.randint(1, 60 * SECOND)])

    def some(self) -> str:
        return self.rng.choice(list(self.limits))

    def held(self) -> list[tuple[str, str]]:
        """Return what we think runs."""
        return [pair for pair, (_, count) in self.mine.items() if count]

    def come(self, limits: Iterable[Limit]) -> None:
        for one in limits:
            self.models[one.name].come(self.clock)

    def say(self, verb: Verb) -> Step:
        """Send a call, some of them twice, as a client does that lost the first reply; returns the last reply."""
        for _ in range(2 if (twice := self.rng.random() < 0.15) else 1):
            reply = yield command(verb, self.clock)
        return reply, twice

    # — verbs —

    def take(self) -> Step:
        self.count += 1
        yield from self.taking(self.limits[self.some()], f"p{self.count}", self.rng.randint(1, 6))

    def taking(self, one: Limit, permit: str, want: int) -> Step:
        reports = self.changes([pair for pair in self.mine if pair[0] == one.name]) if self.rng.random() < 0.3 else []
        verb = limit.take(one, TTL, permit, want, [held for _, held in reports])
        reply, twice = yield from self.say(verb)
        model = self.models[one.name]
        self.come([one])
        self.tell(reports)
        self.come([one])
        for _ in range(1 + twice):
            expected = model.take(permit, want)
        got = limit.taken(reply)
        assert got.granted == expected
        if got.short == "rate" and not twice:
            _first_moment(model, micro(got.wait or 0))
        self.receive([(one.name, permit, expected, expected)], lambda: self.taking(one, permit, want))

    def acquire(self) -> Step:
        requests = sorted((self.request() for _ in range(self.rng.randint(1, 5))), key=lambda one: one.priority)
        yield from self.acquiring(requests)

    def request(self) -> Request:
        rng = self.rng
        self.count += 1
        own = rng.sample(list(self.limits.values()), rng.randint(1, len(self.limits)))
        return Request(f"p{self.count}", tuple(own), rng.randint(1, 5), rng.randint(0, 10), rng.choice([0, 0, 1]))

    def acquiring(self, requests: list[Request]) -> Step:
        reply, twice = yield from self.say(limit.acquire(self.prefix, TTL, requests))
        self.come({one.name: one for request in requests for one in request.limits}.values())
        for _ in range(1 + twice):
            expected = acquire(self.models, requests)
        got = limit.answers(requests, reply)
        assert got is not None
        assert [1 if one.granted else -1 if one.wait is None else 0 for one in got] == expected
        assert all(one.granted or one.limit is not None for one in got)
        granted = [request for request, one in zip(requests, expected, strict=True) if one == 1]
        units = [(own.name, request.permit, request.units, 1) for request in granted for own in request.limits]
        self.receive(units, lambda: self.acquiring(granted))

    def receive(self, granted: list[tuple[str, str, int, int]], again: Any) -> None:
        """Learn what was granted, or lose the reply."""
        if self.rng.random() < 0.2:
            self.lost.append(again)
            return
        for name, permit, units, count in granted:
            if count:
                self.mine[name, permit] = [units, count]
                self.since[name, permit] = self.true
                self.begun.pop((name, permit), None)
                if name in self.audits:
                    self.audits[name].granted(permit, units, self.true, self.lapses(name, permit))

    def lapses(self, name: str, permit: str) -> int:
        """Return when a hold lapses, in true time."""
        return self.true + self.models[name].tokens[permit][1] - self.clock

    def again(self) -> Step:
        """Say once more what had no reply."""
        if self.lost:
            yield from self.lost.pop(self.rng.randrange(len(self.lost)))()

    def changes(self, pairs: list[tuple[str, str]]) -> list[tuple[str, grants.Told]]:
        """Let some tasks end or go back unused; now, or a while ago and nobody had said so."""
        chosen = self.rng.sample(pairs, min(len(pairs), self.rng.randint(1, 3)))
        return [(name, self.change(name, permit)) for name, permit in chosen]

    def change(self, name: str, permit: str) -> grants.Told:
        units, count = map(self.rng.randint, (0, 0), self.mine[name, permit])
        longest = self.true - max(self.since[name, permit], self.true - micro(TTL))
        begun = self.begun.get((name, permit))
        if begun is None and self.rng.random() < 0.5:
            begun = self.begins(name, permit)
        ago = self.rng.choice([0, self.rng.randint(0, longest)])
        return permit, units, count, ago, None if begun is None else self.true - begun

    def begins(self, name: str, permit: str) -> int | None:
        """Let all of a permit have begun at some moment, now at the latest; never once it counts as dead."""
        if permit not in self.models[name].open:
            return None
        latest = min(self.true, self.lapses(name, permit))
        moment = self.rng.randint(min(self.since[name, permit], latest), latest)
        self.begun[name, permit] = moment
        return moment

    def begin(self) -> Step:
        """Say that something has begun, perhaps long after it should have, or say it once more."""
        if held := self.held():
            name, permit = self.rng.choice(held)
            begun = self.begun.get((name, permit)) or self.begins(name, permit)
            if begun is not None:
                told = permit, *self.mine[name, permit], None, self.true - begun
                yield from self.say(limit.report(TTL, [(self.limits[name], told)]))
                self.come([self.limits[name]])
                self.tell([(name, told)])

    def report(self) -> Step:
        if self.mine:
            changes = self.changes(list(self.mine))
            verb = limit.report(TTL, [(self.limits[name], held) for name, held in changes])
            yield from self.say(verb)
            self.come(self.limits[name] for name, _ in changes)
            self.tell(changes)

    def tell(self, changes: list[tuple[str, grants.Told]]) -> None:
        for name, (permit, units, count, *ages) in changes:
            ago, begun = ages
            self.mine[name, permit] = [units, count]
            self.models[name].report(permit, units, count, ago, begun)
            if begun is not None and name in self.audits:
                self.audits[name].begun(permit, self.true - begun)
            if ago is not None:
                self.since[name, permit] = self.true  # what ends from now on has not ended before
                if name in self.audits:
                    self.audits[name].reported(permit, units, count, self.true - ago)

    def stamp(self) -> Step:
        if held := self.held():
            name, permit = self.rng.choice(held)
            (kept,), _ = yield from self.say(limit.stamp(self.limits[name], TTL, [permit]))
            self.come([self.limits[name]])
            assert kept == self.models[name].renewed(permit)
            if kept and name in self.audits:
                self.audits[name].stamped(permit, self.true)

    def renew(self) -> Step:
        """Renew what we think runs, also what lapsed long ago."""
        if held := self.held():
            pairs = [(self.limits[name], (permit, *self.mine[name, permit])) for name, permit in held]
            yield from self.hold(pairs, units=False)

    def force(self) -> Step:
        """Write down what Postgres says runs, whatever the limits allow."""
        self.count += 1
        permit = f"p{self.count}", self.rng.randint(1, 3), self.rng.randint(1, 2)
        yield from self.hold([(self.limits[self.some()], permit)], units=True)

    def hold(self, pairs: list[tuple[Limit, grants.Held]], *, units: bool) -> Step:
        yield from self.say(limit.hold(TTL, pairs, pairs[0][0].place, complete=True, units=units))
        self.come(one for one, _ in pairs)
        for one, (permit, used, count) in pairs:
            model = self.models[one.name]
            model.hold(permit, used if units and permit not in model.log else 0, count)
            if one.name in self.audits and permit in model.open:
                self.audits[one.name].held(permit, self.lapses(one.name, permit))

    def pause(self) -> Step:
        one = self.limits[self.some()]
        length = self.rng.choice([0.001, 1.0, 5.0])
        yield from self.say(limit.pause(TTL, length, [one]))
        self.come([one])
        self.models[one.name].pause(micro(length))

    def look(self) -> Step:
        """Compare the sums."""
        limits = list(self.limits.values())
        reply = yield command(limit.look(TTL, limits), self.clock)
        self.come(limits)
        found = [(one.used, one.running) for one in limit.standings(reply)]
        assert found == [(model.used, model.running) for model in self.models.values()]

    def end(self) -> Step:
        """Let everything lapse; an idle limit takes no memory."""
        self.true += AEON
        self.clock += AEON
        yield from self.look()
        assert all(model.used == model.running == 0 for model in self.models.values())
        assert (yield "EXISTS", *(key for one in self.limits.values() for key in one.keys)) == 0


def _first_moment(model: Model, wait: int) -> None:
    """Check that a unit leaves the window after `wait` and not a microsecond earlier."""
    then = model.seen + wait
    most = model.quota.max or 0
    assert sum(units for units, at in model.log.values() if at + model.per >= then) < most
    assert sum(units for units, at in model.log.values() if at + model.per >= then - 1) >= most
