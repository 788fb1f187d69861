"""What atheris feeds: each target takes bytes, and raises where something of ours did not answer as promised."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import atheris
import click

with atheris.instrument_imports(include=["pgq"]):
    from starlette.exceptions import HTTPException

    from pgq.cli.options import count_or_none, duration, moment, rate_limit, span
    from pgq.dashboard import asked
    from pgq.doorbell import read_id, read_seconds
    from pgq.errors import PgqError
    from pgq.options import Options
    from pgq.payload import encode
    from pgq.queue import check_name
    from pgq.quota import check_keys
    from pgq.readonly import Refused, check

DEEPEST = 6


def value(source: atheris.FuzzedDataProvider, depth: int = 0) -> Any:
    """Build any value that a caller could give in a payload."""
    kind = source.ConsumeIntInRange(0, 8 if depth < DEEPEST else 5)
    match kind:
        case 0:
            return source.PickValueInList([None, True, False, (), b"x", {1}, 1j])
        case 1:
            return source.ConsumeInt(source.ConsumeIntInRange(1, 40))
        case 2:
            return source.ConsumeFloat()
        case 3 | 4:
            return source.ConsumeUnicode(source.ConsumeIntInRange(0, 40))
        case 5:
            return source.PickValueInList(
                [10**400, -0.0, 1e308, 5e-324, float("nan"), float("-inf"), "\0", "\ud800", ""]
            )
        case 6:
            return [value(source, depth + 1) for _ in range(source.ConsumeIntInRange(0, 4))]
        case _:
            return {key(source): value(source, depth + 1) for _ in range(source.ConsumeIntInRange(0, 4))}


def key(source: atheris.FuzzedDataProvider) -> Any:
    return (
        source.ConsumeUnicode(12)
        if source.ConsumeIntInRange(0, 20)
        else source.PickValueInList([1, None, True, 1.5, (1,)])
    )


def refused(act: Callable[[], Any], *errors: type[Exception]) -> bool:
    """Do something; returns whether it was refused in one sentence. Whatever else it raises goes on."""
    try:
        act()
    except errors as error:
        said = getattr(error, "detail", None) or getattr(error, "message", None) or str(error)
        assert said, "it says nothing"
        assert "\n" not in said.strip(), said
        assert said.encode(), said
        return True
    return False


def payload(data: bytes) -> None:
    """Whatever is taken as a payload reads back the same."""
    source = atheris.FuzzedDataProvider(data)
    given = {key(source): value(source) for _ in range(source.ConsumeIntInRange(0, 4))}
    if not refused(lambda: encode(given), PgqError):
        text = encode(given)
        assert json.loads(text) == given
        assert "\0" not in text
        assert text.encode()


def document(data: bytes) -> None:
    """Whatever JSON reads is taken or refused as a payload."""
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):
        return
    refused(lambda: encode(given), PgqError)


def options(data: bytes) -> None:
    """Every option with any value."""
    source = atheris.FuzzedDataProvider(data)
    names = [
        "priority",
        "delay",
        "scheduled_at",
        "max_attempts",
        "timeout",
        "unique_key",
        "on_conflict",
        "limit_key",
        "weight",
    ]
    given = {source.PickValueInList(names): value(source) for _ in range(source.ConsumeIntInRange(1, 3))}
    refused(lambda: Options(**given), PgqError)
    refused(lambda: check_name("queue", value(source)), PgqError)
    refused(lambda: check_keys(value(source)), PgqError)


def filters(data: bytes) -> None:
    """What commands and the dashboard read out of words."""
    source = atheris.FuzzedDataProvider(data)
    word = source.ConsumeUnicodeNoSurrogates(60)
    for read in (duration, rate_limit, count_or_none, moment, span):
        refused(lambda read=read: read(word), click.UsageError)
    names = list(asked.Filter.__slots__)
    refused(lambda: asked.Filter.of({source.PickValueInList(names): word}), HTTPException)
    for ask in (asked.Place.of, asked.rate, asked.task_id, lambda text: asked.seconds("older", text)):
        refused(lambda ask=ask: ask(word), HTTPException)
    assert asked.local(word).startswith("/")
    assert not asked.local(word).startswith(("//", "/\\"))
    assert 0 <= read_id(word) < 10**19
    assert 0 <= read_seconds(word) < 10**10


def question(data: bytes) -> None:
    """What `pgq sql` is asked: refused in a sentence, or left as it is."""
    text = atheris.FuzzedDataProvider(data).ConsumeUnicodeNoSurrogates(200)
    refused(lambda: check(text), Refused)


TARGETS = {each.__name__: each for each in (payload, document, options, filters, question)}
