"""Third stage of the line: permits. Every function builds one call of a script, or reads its reply; none does I/O.

A queue's own limit is asked before the claim (`take`), the limits of a task's keys after it (`acquire`). A permit is
named by the lease of the claim, so a call may be sent again whenever its reply was lost. The window is a log kept by
the server's clock; see `lua/limit.lua` for what is kept where.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from uuid import uuid4

from pgq.grants import Answer, Held, Limit, Request, Standing, Taken, Told, born_at, keys_place
from pgq.quota import MICROSECONDS
from pgq.script import Verb


def take(
    limit: Limit, ttl: float, permit: str, want: int, reports: Iterable[Told] = (), slack: float | None = None
) -> Verb:
    """Ask for up to `want` permits of one limit under one name, and report on others in the same call.

    They may be on their way for `slack` seconds; None stands for the limit's own slack.
    """
    words = [word for report in reports for word in _aged(report)]
    settings = limit.quota.words(slack)
    return Verb("take", (*limit.keys, limit.born), ("", micro(ttl), *settings, permit, want, *words))


def taken(reply: list[int | str | bytes]) -> Taken:
    """Read the reply of `take`."""
    granted, wait, short, spare = int(reply[0]), int(reply[1]), _text(reply[2]), int((*reply, 0)[3])
    return Taken(granted, None if wait < 0 else wait / MICROSECONDS, short, spare)


def acquire(prefix: str, ttl: float, requests: Sequence[Request]) -> Verb:
    """Ask for all limits of each request, or none of them, in the order given; the limits share one hash slot."""
    limits = _Numbers(limit for request in requests for limit in request.limits)
    place = keys_place(prefix)
    keys = [born_at(place), f"{place}:denials", *(key for limit in limits for key in limit.keys)]
    args: list[str | int] = ["", micro(ttl), len(limits)]
    for limit in limits:
        args += (*limit.quota.words(), limit.name)
    for request in requests:
        numbers = [limits[limit] for limit in request.limits]
        args += (request.permit, request.units, request.priority, request.denied, len(numbers), *numbers)
    return Verb("acquire", keys, args)


def answers(requests: Sequence[Request], reply: list[int] | str | bytes) -> list[Answer] | None:
    """Read the reply of `acquire`; None where the server must be told first what runs."""
    if isinstance(reply, str | bytes):
        return None
    limits = list(_Numbers(limit for request in requests for limit in request.limits))
    triples = zip(reply[::3], reply[1::3], reply[2::3], strict=True)
    return [_answer(limits, *map(int, triple)) for triple in triples]


def _answer(limits: list[Limit], granted: int, wait: int, number: int) -> Answer:
    if granted > 0:
        return Answer(granted=True)
    return Answer(granted=False, wait=None if granted < 0 else wait / MICROSECONDS, limit=limits[number - 1])


def report(ttl: float, told: Iterable[tuple[Limit, Told]]) -> Verb:
    """Say what permits of several limits (of one hash slot) used and still run."""
    keys, settings, words, _ = _spelled((limit, _aged(permit)) for limit, permit in told)
    return Verb("report", keys, ("", micro(ttl), *settings, *words))


def begin(place: str) -> Verb:
    """Ask for the name of the server's memory, before it is told what runs in a hash slot; the name ends with it."""
    return Verb("begin", [f"{place}:memory"], [uuid4().hex])


def hold(
    ttl: float, held: Iterable[tuple[Limit, Held]], place: str, *, complete: bool | str | bytes, units: bool
) -> Verb:
    """Say what is held, whatever the limits allow; `complete` lets the server give permits again.

    Where that is a name that `begin` gave, only while the server's memory still has it: else the reply is -1.
    With `units` what each has used counts from now where the server does not know of it.
    """
    keys, settings, words, numbers = _spelled(held)
    if not units:
        words[2::4] = [""] * numbers
    memory = _text(complete) if isinstance(complete, str | bytes) else "1" if complete else ""
    return Verb("hold", (born_at(place), f"{place}:memory", *keys), ("", micro(ttl), memory, *settings, *words))


def stamp(limit: Limit, ttl: float, permits: Sequence[str]) -> Verb:
    """Make permits that have waited too long for their start count from now."""
    return Verb("stamp", limit.keys, ("", micro(ttl), *limit.quota.words(), *permits))


def pause(ttl: float, seconds: float, limits: Iterable[Limit]) -> Verb:
    """Let nothing start under these limits (of one hash slot) for some seconds."""
    found = list(_Numbers(limits))
    settings = [word for limit in found for word in limit.quota.words()]
    return Verb("pause", [key for limit in found for key in limit.keys], ("", micro(ttl), micro(seconds), *settings))


def queue_up(limit: Limit, ttl: float, tails: Iterable[tuple[int, float]]) -> Verb:
    """Note until when tasks of a limit have been sent away: pairs of a priority and seconds from now."""
    words = [word for priority, seconds in tails for word in (priority, micro(seconds))]
    return Verb("queue_up", limit.keys, ("", micro(ttl), *limit.quota.words(), *words))


def look(ttl: float, limits: Sequence[Limit]) -> Verb:
    """Ask where limits (of one hash slot) stand."""
    settings = [word for limit in limits for word in limit.quota.words()]
    return Verb("look", [key for limit in limits for key in limit.keys], ("", micro(ttl), *settings))


def standings(reply: list[int]) -> list[Standing]:
    """Read the reply of `look`."""
    rows = zip(reply[::4], reply[1::4], reply[2::4], reply[3::4], strict=True)
    return [Standing(u, r, None if w < 0 else w / MICROSECONDS, p / MICROSECONDS) for u, r, w, p in rows]


def micro(seconds: float) -> int:
    """Return whole microseconds."""
    return round(seconds * MICROSECONDS)


class _Numbers:
    """Limits numbered from 1, each in the first form it is met in.

    A change of settings may leave two forms of one limit in a batch; a script that read its state twice would count
    each form without the other.
    """

    def __init__(self, limits: Iterable[Limit]) -> None:
        self._found: dict[tuple[str, str], tuple[int, Limit]] = {}
        for limit in limits:
            self._found.setdefault((limit.place, limit.name), (len(self._found) + 1, limit))

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Limit]:
        return (limit for _, limit in self._found.values())

    def __getitem__(self, limit: Limit) -> int:
        return self._found[limit.place, limit.name][0]


def _aged(permit: Told) -> tuple[str | int, ...]:
    """Return a permit with the times since its last end and start; where nobody said them, now and never."""
    name, units, running, *ages = permit
    ended = ages[0] if ages else 0
    begun = ages[1] if ages[1:] else None
    return name, units, running, "" if ended is None else ended, "" if begun is None else begun


def _spelled(held: Iterable[tuple[Limit, Sequence[str | int]]]) -> tuple[list[str], list[str], list[str | int], int]:
    """Return keys, settings and permits as `report` and `hold` read them, and how many permits there are."""
    given = list(held)
    limits = _Numbers(limit for limit, _ in given)
    keys = [key for limit in limits for key in limit.keys]
    settings = [word for limit in limits for word in limit.quota.words()]
    words = [word for limit, permit in given for word in (limits[limit], *permit)]
    return keys, settings, words, len(given)


def _text(word: int | str | bytes) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)
