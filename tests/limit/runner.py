"""Carries on many traces at a time, in one round trip a step."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from itertools import count, islice
from random import Random
from time import monotonic
from typing import Any

import redis
from trace_of_calls import TTL, Step, Trace

from pgq.limiter import connect_redis
from pgq.script import Verb

VERBS = ("take", "acquire", "report", "hold", "stamp", "pause", "look")
ABREAST = 100
STEPS = 14


def load(client: redis.Redis) -> None:
    """Let the server know the scripts: a pipeline cannot say them again one by one."""
    for name in VERBS:
        client.script_load(Verb(name, (), ()).text)


@dataclass
class Tally:
    """What was compared and judged, and what went wrong, each with the seed that shows it again."""

    traces: int = 0
    calls: int = 0
    windows: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count what another one counted."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


def run(client: redis.Redis, prefix: str, seeds: Iterable[int]) -> Tally:
    """Run one trace a seed.

    The clock of a trace is its own, but keys expire by the server's, none in less than TTL seconds: traces that were
    held up for longer on a crowded machine are run once more.
    """
    tally, waiting = Tally(), iter(seeds)
    while chosen := list(islice(waiting, ABREAST)):
        tally.add(next(some for some, took in _attempts(client, prefix, chosen) if took < TTL))
    return tally


def _attempts(client: redis.Redis, prefix: str, seeds: list[int]) -> Iterator[tuple[Tally, float]]:
    """Run some traces again and again, each time under other keys; yields what came of it and how long it took."""
    for attempt in count():
        began = monotonic()
        yield _abreast(client, f"{prefix}:{attempt}", seeds), monotonic() - began


def _abreast(client: redis.Redis, prefix: str, seeds: list[int]) -> Tally:
    tally = Tally()
    traces = {seed: Trace(Random(seed), f"{prefix}:{seed}") for seed in seeds}
    stories: dict[int, Step] = {seed: trace.story(STEPS) for seed, trace in traces.items()}
    commands = {seed: next(story) for seed, story in stories.items()}
    while commands:
        tally.calls += len(commands)
        replies = _round_trip(client, list(commands.values()))
        for seed, reply in zip(list(commands), replies, strict=True):
            try:
                if isinstance(reply, Exception):
                    raise reply
                commands[seed] = stories[seed].send(reply)
            except StopIteration:
                del commands[seed]
                tally.traces += 1
                tally.windows += sum(audit.windows for audit in traces[seed].audits.values())
            except (AssertionError, redis.RedisError) as error:
                del commands[seed]
                tally.wrong.append(f"seed {seed}: {error!r}")
    return tally


def _round_trip(client: redis.Redis, commands: list[tuple[Any, ...]]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    return pipeline.execute(raise_on_error=False)


def main(url: str, prefix: str, first: str, how_many: str) -> None:
    """Run traces in a process of its own, on a server that knows the scripts; prints the tally as JSON."""
    client = connect_redis(url)
    tally = run(client, prefix, range(int(first), int(first) + int(how_many)))
    print(json.dumps(asdict(tally)))  # noqa: T201 - what a process has to say


if __name__ == "__main__":
    main(*sys.argv[1:])
