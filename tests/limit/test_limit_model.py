"""Random calls under a clock that jumps: every reply is the model's, no window is ever too full, nothing stays behind.

PGQ_TRACES sets how many traces are run; a million take about twenty minutes on two cores, so give PGQ_KEEP and let
several runs add up:

    PGQ_TRACES=250000 PGQ_KEEP=benchmarks/results/<name> pytest tests/limit/test_limit_model.py -k random_traces
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import runner
from audit import Audit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trace_of_calls import Trace

from pgq.quota import Quota

Keep = Callable[[str, Mapping[str, float]], None]
TRACES = int(os.environ.get("PGQ_TRACES", "2000"))
_number = count()


@pytest.mark.timeout(60 + TRACES // 10)
def test_random_traces_agree_with_the_model_and_keep_every_window(
    redis_url: str, plain: Any, prefix: str, keep: Keep
) -> None:
    runner.load(plain)
    first, workers = random.SystemRandom().randrange(10**12), os.cpu_count() or 1
    share = -(-TRACES // workers)
    command = [sys.executable, str(Path(runner.__file__)), redis_url, prefix]
    began = time.monotonic()
    started = [
        subprocess.Popen([*command, str(seed), str(share)], stdout=subprocess.PIPE, text=True)
        for seed in range(first, first + share * workers, share)
    ]
    said = [json.loads(process.communicate()[0] or "{}") for process in started]
    assert [process.returncode for process in started] == [0] * workers
    figures = {name: sum(one[name] for one in said) for name in ("traces", "calls", "windows")}
    wrong = [text for one in said for text in one["wrong"]]
    keep("random traces", {"first_seed": first, **figures, "wrong": len(wrong), "took_s": time.monotonic() - began})
    assert wrong == []
    assert figures["traces"] == share * workers
    assert figures["windows"] > figures["traces"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rng=st.randoms(use_true_random=False), steps=st.integers(1, 30))
def test_traces_that_hypothesis_thinks_of_do_too(
    client: Any, plain: Any, prefix: str, rng: random.Random, steps: int
) -> None:
    runner.load(plain)
    story = Trace(rng, f"{prefix}:h{next(_number)}").story(steps)
    command = next(story)
    while True:
        try:
            command = story.send(client.execute_command(*command))
        except StopIteration:
            return


# — the audit itself: one that never complains would prove nothing —


def test_the_audit_counts_what_may_start_at_the_two_ends_of_a_window() -> None:
    audit = Audit(Quota(2, 1.0))
    audit.granted("a", 2, 0)
    audit.granted("b", 1, 1_050_001)
    assert audit.fullest() == 2
    audit.granted("c", 1, 1_050_000)
    assert audit.fullest() == 3


def test_the_audit_believes_that_some_of_a_permit_ended_before_the_rest() -> None:
    audit = Audit(Quota(3, 1.0))
    audit.granted("a", 3, 0)
    audit.reported("a", 3, 1, 10_000)
    audit.granted("b", 2, 1_010_001)
    assert audit.fullest() == 3
    audit.granted("c", 1, 1_050_000)
    assert audit.fullest() == 4


def test_the_audit_believes_an_early_end_and_a_refund() -> None:
    audit = Audit(Quota(2, 1.0))
    audit.granted("a", 2, 0)
    audit.reported("a", 1, 0, 10_000)
    audit.granted("b", 1, 1_010_000)
    assert audit.fullest() == 2
    audit.stamped("b", 1_020_000)
    audit.granted("c", 1, 2_070_000)
    assert audit.fullest() == 2
    audit.granted("d", 1, 2_070_000)
    assert audit.fullest() == 3
