"""Carries on many traces at a time, in one round trip a step."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from random import Random
from typing import Any

import redis
from trace_of_calls import Step, Trace

from pgq.limiter import connect_redis
from pgq.script import Verb

VERBS = ("take", "acquire", "report", "hold", "stamp", "pause", "look")
ABREAST = 100
STEPS = 14


def load(client: redis.Redis) -> None:
    """Let the server know the scripts: a pipeline cannot say them again one by one."""
    for name in VERBS:
        client.script_load(Verb(name, (), ()).text)


def run(client: redis.Redis, prefix: str, seeds: Iterable[int]) -> list[str]:
    """Run one trace a seed; returns what went wrong, with the seed that shows it again."""
    wrong: list[str] = []
    waiting = iter(seeds)
    while chosen := list(islice(waiting, ABREAST)):
        wrong += _abreast(client, prefix, chosen)
    return wrong


def _abreast(client: redis.Redis, prefix: str, seeds: list[int]) -> Iterator[str]:
    stories: dict[int, Step] = {seed: Trace(Random(seed), f"{prefix}:{seed}").story(STEPS) for seed in seeds}
    commands = {seed: next(story) for seed, story in stories.items()}
    while commands:
        replies = _round_trip(client, list(commands.values()))
        for seed, reply in zip(list(commands), replies, strict=True):
            try:
                if isinstance(reply, Exception):
                    raise reply
                commands[seed] = stories[seed].send(reply)
            except StopIteration:
                del commands[seed]
            except (AssertionError, redis.RedisError) as error:
                del commands[seed]
                yield f"seed {seed}: {error!r}"


def _round_trip(client: redis.Redis, commands: list[tuple[Any, ...]]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    return pipeline.execute(raise_on_error=False)


def main(url: str, prefix: str, first: str, count: str) -> int:
    """Run traces in a process of its own; prints what went wrong."""
    client = connect_redis(url)
    load(client)
    wrong = run(client, prefix, range(int(first), int(first) + int(count)))
    print(*wrong[:20], sep="\n")  # noqa: T201 - what a process has to say
    return len(wrong) > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
