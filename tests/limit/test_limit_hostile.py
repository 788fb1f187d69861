"""Every script with settings that no caller of ours sends: an answer or an error, and then the limit still is one.

Scripts get words from our own code only, which checks what users give; so a setting that is no number is an error of
the server. What it must not do is to leave a limit behind that allows more than it should, or nothing ever again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from desk import TTL, Desk
from redis.exceptions import ResponseError

import pgq.script
from pgq import limit
from pgq.grants import Limit, Request
from pgq.limiter import call
from pgq.script import Verb

MOST = 7
PER = 10.0
SCRIPTS = {path.stem for path in (Path(pgq.script.__file__).parent / "lua").glob("*.lua")}
SCRIPTS -= {"limit", "rights"}  # what all others begin with; what only asks, for the doctor
WORDS = [
    "",
    "nan",
    "-nan",
    "inf",
    "-inf",
    "1e308",
    "-1",
    "0",
    "x",
    "9" * 40,
    "1.5",
    "\0",
    "a b",
    "%s",
    "0x10",
    "permit",
    "\u202e",
]

# One call of each script that is fine.
FINE: dict[str, Callable[[Desk, Limit], Verb]] = {
    "acquire": lambda desk, one: limit.acquire(
        desk.prefix, TTL, [Request("p", (one,), 1), Request("r", (one,), 2, denied=1)]
    ),
    "begin": lambda _, one: limit.begin(one.place),
    "hold": lambda _, one: limit.hold(TTL, [(one, ("p", 1, 1))], one.place, complete=True, units=True),
    "look": lambda _, one: limit.look(TTL, [one]),
    "pause": lambda _, one: limit.pause(TTL, 1.0, [one]),
    "publish": lambda desk, _: Verb("publish", [f"{desk.prefix}:settings"], ["kind", "{}", "other", "{}"]),
    "queue_up": lambda _, one: limit.queue_up(one, TTL, [(5, 1.0)]),
    "report": lambda _, one: limit.report(TTL, [(one, ("p", 1, 1, 0, 0))]),
    "stamp": lambda _, one: limit.stamp(one, TTL, ["p"]),
    "take": lambda _, one: limit.take(one, TTL, "p", 2, [("p", 1, 1, 0, 0)]),
}
TIMELESS = {"begin", "publish"}  # which take no clock and know of no limit


def test_every_script_has_a_hostile_case() -> None:
    assert set(FINE) == SCRIPTS


def said(desk: Desk, verb: Verb, place: int, word: str) -> Any:
    """Say a verb with one word replaced; the first is the clock, which tests alone may give."""
    words = list(verb.args)
    words[place] = word
    try:
        return (
            desk.say(replace(verb, args=words))
            if verb.name not in TIMELESS
            else call(desk.client, replace(verb, args=words))
        )
    except ResponseError as error:
        return error


@pytest.mark.parametrize("name", sorted(FINE))
def test_after_hostile_settings_a_limit_grants_what_it_should_and_no_more(desk: Desk, name: str) -> None:
    wrong = []
    settings = {str(limit.micro(TTL)), *desk.key("any", MOST, PER).quota.words()} - {""}
    places = [
        place for place, word in enumerate(FINE[name](desk, desk.key("any", MOST, PER)).args) if str(word) in settings
    ]
    assert name in TIMELESS or len(places) >= 4
    for place in places:
        for turn, word in enumerate(WORDS):
            one = desk.key(f"{place}-{turn}", MOST, PER)
            desk.take(one, "before")
            said(desk, FINE[name](desk, one), place, word)
            if desk.take(one, "after", MOST + 2).granted > MOST - 1:
                wrong.append((place, word, "too many"))
            desk.wait(10 * PER + 10 * TTL)
            if desk.take(one, "later", MOST).granted != MOST:
                wrong.append((place, word, "stuck"))
    assert wrong == []
