"""wire: tasks and outcomes survive the way to a child process and back."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgq.task import Dead, Done, Failed, HandBack, Recorded, Retry, Snooze, Task
from pgq.wire import decode_outcome, decode_task, encode_outcome, encode_task

TEXT = st.text(st.characters(exclude_categories=()))
MOMENTS = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]))


@given(
    st.builds(
        Task, queue=TEXT, lease=st.uuids(), id=st.integers(0, 2**63), scheduled_at=MOMENTS, task=TEXT,
        priority=st.integers(0, 10), payload=TEXT, attempts=st.integers(1), max_attempts=st.integers(1),
        timeout=st.floats(0, 1e9), crashes=st.integers(0), created_at=MOMENTS,
    )
)  # fmt: skip
def test_a_task_arrives_as_it_was_sent(task: Task) -> None:
    line = encode_task(task)
    assert decode_task(line) == (task, False)
    assert line.count(b"\n") == 1


@pytest.mark.parametrize(
    "outcome",
    [
        Done(),
        Recorded(),
        Retry(),
        Retry(after=2.5, reason="busy"),
        Snooze(30.0),
        Snooze(datetime(2030, 1, 1, tzinfo=UTC)),
        Snooze(datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=-3)))),
        Dead("no use"),
        Failed("boom", "line 1\nline 2"),
        Failed("boom"),
        HandBack(),
    ],
    ids=str,
)
def test_an_outcome_arrives_as_it_was_sent(outcome: object) -> None:
    line = encode_outcome(outcome)
    assert decode_outcome(json.loads(line)) == outcome
    assert line.count(b"\n") == 1


@pytest.mark.parametrize(("sent", "arrives"), [
    (Retry(timedelta(minutes=1)), Retry(60.0)),
    (Snooze(timedelta(milliseconds=1500)), Snooze(1.5)),
])  # fmt: skip
def test_a_length_of_time_arrives_as_seconds(sent: object, arrives: object) -> None:
    assert decode_outcome(json.loads(encode_outcome(sent))) == arrives


@given(TEXT, st.none() | TEXT)
def test_whatever_an_error_says_arrives_in_one_line(error: str, trace: str | None) -> None:
    line = encode_outcome(Failed(error, trace))
    assert decode_outcome(json.loads(line)) == Failed(error, trace)
    assert line.count(b"\n") == 1


def test_a_lease_arrives_as_a_uuid() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    task = Task("q", uuid.uuid4(), 1, moment, "t", 5, "{}", 1, 1, 1.0, 0, moment)
    assert isinstance(decode_task(encode_task(task, tell=True))[0].lease, uuid.UUID)
