"""Calls of the limiter's scripts: keys and arguments as the scripts' headers say, and replies read back."""

from __future__ import annotations

import hashlib

import pytest

from pgq import grants, limit
from pgq.grants import Answer, Request, Standing, Taken
from pgq.quota import KeyLimit, Quota

EMAIL = grants.queue_limit("pgq", "email", Quota(100, 60.0, 5))
CUSTOMER = grants.key_limit("pgq", "customer:7", KeyLimit("customer", Quota(10, 1.0)))
HOST = grants.key_limit("pgq", "host:a", KeyLimit("host", Quota(slots=2)))
EMAIL_WORDS = ("100", "60000000", "500000", "5")
CUSTOMER_WORDS = ("10", "1000000", "50000", "")
HOST_WORDS = ("", "", "", "2")


def test_a_queue_has_a_hash_slot_of_its_own_and_keys_share_one() -> None:
    assert EMAIL.keys == ("pgq:{queue:email}:window", "pgq:{queue:email}:running", "pgq:{queue:email}:book")
    assert EMAIL.born == "pgq:{queue:email}:born"
    assert CUSTOMER.keys[0] == "pgq:{keys}:customer:7:window"
    assert CUSTOMER.born == HOST.born == "pgq:{keys}:born"


def test_take_says_what_it_wants_and_what_became_of_others() -> None:
    verb = limit.take(EMAIL, 30.0, "lease", 5, [("old", 2, 1), ("older", 1, 0, 70)])
    assert verb.keys == (*EMAIL.keys, EMAIL.born)
    assert verb.args == ("", 30_000_000, *EMAIL_WORDS, "lease", 5, "old", 2, 1, 0, "", "older", 1, 0, 70, "")


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ([5, 0, b""], Taken(5)),
        ([2, 1_500_000, b"rate"], Taken(2, 1.5, "rate")),
        ([0, -1, "concurrency"], Taken(0, None, "concurrency")),
        ([0, 0, b"forgotten"], Taken(0, 0.0, "forgotten")),
    ],
)
def test_the_reply_of_take_is_read_in_seconds(reply: list[int | str | bytes], found: Taken) -> None:
    assert limit.taken(reply) == found
    assert found.forgotten == (found.short == "forgotten")


def test_acquire_names_each_limit_once_and_refers_to_it_by_number() -> None:
    requests = [Request("a", (CUSTOMER, HOST), 3, 1), Request("b", (HOST,), denied=2)]
    verb = limit.acquire("pgq", 1.0, requests)
    assert verb.keys == ["pgq:{keys}:born", "pgq:{keys}:denials", *CUSTOMER.keys, *HOST.keys]
    limits = [*CUSTOMER_WORDS, "customer:7", *HOST_WORDS, "host:a"]
    assert verb.args == ["", 1_000_000, 2, *limits, "a", 3, 1, 0, 2, 1, 2, "b", 1, 5, 2, 1, 2]


def test_the_reply_of_acquire_is_an_answer_each() -> None:
    requests = [Request("a", (CUSTOMER,)), Request("b", (HOST,)), Request("c", (CUSTOMER, HOST))]
    reply = [1, 0, 0, 0, 250_000, 2, -1, 0, 1]
    assert limit.answers(requests, reply) == [
        Answer(granted=True),
        Answer(granted=False, wait=0.25, limit=HOST),
        Answer(granted=False, wait=None, limit=CUSTOMER),
    ]


@pytest.mark.parametrize("word", [b"forgotten", "forgotten"])
def test_a_server_that_forgot_gives_no_answers(word: str | bytes) -> None:
    assert limit.answers([Request("a", (HOST,))], word) is None


def test_two_forms_of_one_limit_go_as_one_in_its_first_form() -> None:
    """A change of settings may come between two tasks of a batch."""
    changed = grants.key_limit("pgq", "host:a", KeyLimit("host", Quota(slots=9)))
    requests = [Request("a", (HOST,)), Request("b", (changed,))]
    verb = limit.acquire("pgq", 1.0, requests)
    assert verb.args[2:] == [1, *HOST_WORDS, "host:a", "a", 1, 5, 0, 1, 1, "b", 1, 5, 0, 1, 1]
    assert limit.answers(requests, [1, 0, 0, 0, 1, 1]) == [
        Answer(granted=True),
        Answer(granted=False, wait=1e-6, limit=HOST),
    ]
    assert len(limit.pause(1.0, 1.0, [HOST, changed]).keys) == 3


def test_report_says_units_and_runs_by_the_number_of_the_limit() -> None:
    verb = limit.report(1.0, [(CUSTOMER, ("a", 3, 0, 70)), (HOST, ("a", 3, 0)), (CUSTOMER, ("b", 1, 1, None, 90))])
    assert verb.keys == [*CUSTOMER.keys, *HOST.keys]
    permits = (1, "a", 3, 0, 70, "", 2, "a", 3, 0, 0, "", 1, "b", 1, 1, "", 90)
    assert verb.args == ("", 1_000_000, *CUSTOMER_WORDS, *HOST_WORDS, *permits)


@pytest.mark.parametrize(("units", "spelled"), [(True, 3), (False, "")])
@pytest.mark.parametrize(("complete", "word"), [(True, "1"), (False, "")])
def test_hold_leaves_units_alone_unless_told(units: bool, spelled: int | str, complete: bool, word: str) -> None:
    verb = limit.hold(1.0, [(HOST, ("a", 3, 1))], HOST.place, complete=complete, units=units)
    assert verb.keys == ("pgq:{keys}:born", "pgq:{keys}:memory", *HOST.keys)
    assert verb.args == ("", 1_000_000, word, *HOST_WORDS, 1, "a", spelled, 1)


def test_stamp_names_permits_of_one_limit() -> None:
    verb = limit.stamp(CUSTOMER, 1.0, ["a", "b"])
    assert (verb.keys, verb.args) == (CUSTOMER.keys, ("", 1_000_000, *CUSTOMER_WORDS, "a", "b"))


def test_pause_is_of_several_limits_and_so_long() -> None:
    verb = limit.pause(1.0, 2.5, [CUSTOMER, HOST])
    assert verb.keys == [*CUSTOMER.keys, *HOST.keys]
    assert verb.args == ("", 1_000_000, 2_500_000, *CUSTOMER_WORDS, *HOST_WORDS)


def test_where_limits_stand_is_read_in_seconds() -> None:
    verb = limit.look(1.0, [CUSTOMER, HOST])
    assert (verb.keys, verb.args[2:]) == ([*CUSTOMER.keys, *HOST.keys], (*CUSTOMER_WORDS, *HOST_WORDS))
    found = limit.standings([10, 2, 500_000, 0, 0, 2, -1, 3_000_000])
    assert found == [Standing(10, 2, 0.5, 0.0), Standing(0, 2, None, 3.0)]


def test_a_script_is_named_by_the_hash_of_its_whole_text() -> None:
    verb = limit.look(1.0, [HOST])
    assert verb.text.startswith("-- limit:")
    assert "-- look:" in verb.text
    assert verb.sha == hashlib.sha1(verb.text.encode(), usedforsecurity=False).hexdigest()
