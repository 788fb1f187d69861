"""The comparison with other queues judges by the handlers' notes, says who is better, leaves nobody out silently."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from array import array
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from suite import MANIFEST, ROOT

from benchmarks import harness, peers, report
from benchmarks.harness import Bench
from benchmarks.peers import command as line
from benchmarks.peers import flow, homes, stage, turns, url, verdict
from benchmarks.peers.homes import Node, Unavailable, Venv
from benchmarks.peers.notes import Notes
from benchmarks.peers.peer import Peer
from benchmarks.peers.programs import pgq as ours
from benchmarks.results import Outcome

SECOND = 10**9


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "benchmarks", "peers", "--quick", *arguments]
    return subprocess.run(words, check=False, cwd=ROOT, capture_output=True, text=True, timeout=350)


def notes(*executed: int) -> Notes:
    return Notes(array("q", executed), array("q", range(len(executed))))


def drained(**rates: float) -> Outcome:
    outcome = Outcome("peers-drain")
    for name, rate in rates.items():
        outcome.add(f"{name}, 1 process", 0, {"tasks_per_s": rate, "worker_rss_mb": 50.0})
    return outcome


@pytest.mark.slow
@pytest.mark.timeout(400)  # the first time pgqueuer is installed
def test_ours_runs_every_measure_beside_a_peer(server: str, tmp_path: Path) -> None:
    done = command("--json", "--only", "pgq,pgqueuer", "--dsn", server, "--out", str(tmp_path))

    manifest = json.loads((tmp_path / "manifest.json").read_text())
    if reason := manifest["left_out"].get("pgqueuer"):
        pytest.skip(f"pgqueuer cannot be installed here: {reason}")
    assert done.returncode == 0, done.stderr
    said: list[dict[str, Any]] = [json.loads(text) for text in done.stdout.splitlines()]
    assert [one["scenario"] for one in said] == [f"peers-{name}" for name in line.MEASURES]
    for one in said:
        assert (one["valid"], one["problems"]) == (True, [])
        assert {case.partition(",")[0] for case in one["cases"]} == {"pgq", "pgqueuer"}
        headline = harness.scenario(one["scenario"]).HEADLINE[0]
        assert all(metrics[headline]["median"] > 0 for metrics in one["cases"].values())
    text = (tmp_path / "SUMMARY.md").read_text()
    assert "| pgqueuer | 1.6.0 on Python 3." in text
    assert "Where a peer is better:" in text


@pytest.mark.slow
def test_a_repetition_can_be_added_to_a_result(server: str, tmp_path: Path) -> None:
    words = ("--only", "pgq", "--measures", "wakeup", "--dsn", server, "--out", str(tmp_path))

    first, second = command(*words), command(*words, "--add")

    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    rows = (tmp_path / "raw.csv").read_text()
    assert "peers-wakeup,pgq,0,p50_ms," in rows
    assert "peers-wakeup,pgq,1,p50_ms," in rows
    assert "Further repetitions: " in (tmp_path / "SUMMARY.md").read_text()


def test_every_peer_is_described_and_has_a_program() -> None:
    programs = Path(peers.__file__).parent / "programs"
    files = {module.name for module in pkgutil.iter_modules(peers.__path__)}

    for name in line.NAMES:
        peer = line.peer(name)
        assert peer.name == name
        assert peer.program in files
        assert (programs / f"{peer.program}.py").exists() or (programs / f"{peer.program}.mjs").exists()
        assert peer.settings
        assert peer.retention
        assert peer.version.count(".") == 2
        assert peer.tasks >= 1_000
    described = {name for name in files if hasattr(importlib.import_module(f"benchmarks.peers.{name}"), "PEER")}
    assert described == {line.peer(name).program for name in line.NAMES}


def test_every_measure_says_what_is_timed_on_what_and_how_durably() -> None:
    for name in line.MEASURES:
        measure = harness.scenario(f"peers-{name}")
        for word in ("Timed", "On:", "Durability:", "Checked:"):
            assert word in (measure.__doc__ or ""), (name, word)
        assert measure.HEADLINE


@pytest.mark.parametrize(
    ("executed", "problems"),
    [
        ((0, 1, 2), []),
        ((2, 0, 1), []),
        ((0, 2), ["here: 1 tasks never ran"]),
        ((0, 1, 2, 2), ["here: 1 tasks ran twice"]),
        ((0, 1, 2, 3), ["here: 1 tasks ran that nobody had enqueued"]),
        ((0, 1, 3), ["here: 1 tasks ran that nobody had enqueued", "here: 1 tasks never ran"]),
    ],
)
def test_a_run_is_invalid_when_a_task_was_lost_or_doubled(executed: tuple[int, ...], problems: list[str]) -> None:
    outcome = Outcome("peers-drain")

    notes(*executed).check(outcome, "here", 3)

    assert outcome.problems == problems


def test_a_backlog_that_is_not_worked_off_is_valid_but_doubling_is_not() -> None:
    fine, doubled = Outcome("peers-backlog"), Outcome("peers-backlog")

    notes(0, 1).check(fine, "here", 3, all_ran=False)
    notes(0, 0).check(doubled, "here", 3, all_ran=False)

    assert (fine.problems, doubled.problems) == ([], ["here: 1 tasks ran twice"])


def test_notes_of_several_workers_read_back_in_step(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, values in zip(paths, ([1, 2, 10, 20], [3, 30]), strict=True):
        path.write_bytes(array("q", values).tobytes())

    found = Notes.read(paths)

    assert found.executed.tolist() == [1, 2, 3]
    assert found.started_at.tolist() == [10, 20, 30]


def test_starts_are_counted_from_the_first_moment_up_to_the_last() -> None:
    found = Notes(array("q", range(4)), array("q", [1 * SECOND, 2 * SECOND, 2 * SECOND, 3 * SECOND]))

    assert found.between(1.0, 3.0) == 1.5


def test_a_series_has_the_rate_of_each_stretch() -> None:
    outcome = Outcome("peers-pinned")
    started = [round((10.0 + at) * SECOND) for at in (0.5, 1.5, 7.0, 14.9, 15.1)]

    rates = flow.plot(outcome, "pgq", 0, Notes(array("q", range(5)), array("q", started)), 10.0, 15.0)

    assert rates == [0.4, 0.2, 0.2]
    assert [(moment.at, moment.metrics["tasks_per_s"]) for moment in outcome.series] == [
        (2.5, 0.4),
        (7.5, 0.2),
        (12.5, 0.2),
    ]


def test_the_verdict_says_plainly_where_a_peer_is_better() -> None:
    lines = verdict.compare(drained(pgq=100.0, awa=50.0, oban=200.0), ("tasks_per_s",), ())

    assert "| pgq / peer | tasks_per_s |" in lines
    assert "| awa, 1 process | 2.00 |" in lines
    assert [text for text in lines if text.startswith("- ")] == ["- oban, 1 process: tasks_per_s 200, pgq 100"]


def test_less_is_better_where_it_is_a_cost() -> None:
    outcome = Outcome("peers-wakeup")
    outcome.add("pgq", 0, {"p50_ms": 2.0})
    outcome.add("awa", 0, {"p50_ms": 1.0})

    assert "- awa: p50_ms 1, pgq 2" in verdict.compare(outcome, ("p50_ms",), ("p50_ms",))
    assert "- nowhere in these figures" in verdict.compare(outcome, ("p50_ms",), ())


def test_a_figure_that_a_peer_has_not_is_left_blank() -> None:
    outcome = drained(pgq=100.0, awa=50.0)
    outcome.add("celery, 1 process", 0, {"tasks_per_s": 10.0})

    lines = verdict.compare(outcome, ("tasks_per_s", "worker_rss_mb"), ("worker_rss_mb",))

    assert "| awa, 1 process | 2.00 | 1.00 |" in lines
    assert "| celery, 1 process | 10.00 |  |" in lines


def test_there_is_no_verdict_without_ours_or_without_a_peer() -> None:
    assert verdict.compare(drained(pgq=1.0), ("tasks_per_s",), ()) == []
    assert verdict.compare(drained(awa=1.0), ("tasks_per_s",), ()) == []


def test_peers_take_turns_and_one_that_fails_makes_the_run_invalid_and_no_more() -> None:
    outcome, seen = Outcome("peers-drain"), []

    def measure(peer: Peer, repetition: int) -> Mapping[str, float]:
        seen.append((peer.name, repetition))
        if peer.name == "awa":
            raise RuntimeError("it ended")
        return {"tasks_per_s": 1.0}

    turns.take(outcome, Bench("", False, 2, len), [line.peer("awa"), line.peer("pgq")], "1 process", measure)

    assert seen == [("awa", 0), ("pgq", 0), ("awa", 1), ("pgq", 1)]
    assert [sample.case for sample in outcome.samples] == ["pgq, 1 process"] * 2
    assert outcome.problems[0] == "awa, 1 process, repetition 1: it ended"


def test_a_program_that_fails_is_told_with_its_last_words(server: str) -> None:
    broken = replace(line.peer("pgq"), name="no-such-program")

    with (
        pytest.raises(RuntimeError, match=r"could not be installed; it last said: .*no_such_program"),
        stage.stage(Bench(server, True, 1, print), broken),
    ):
        pass


def test_who_cannot_be_installed_is_left_out_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    with pytest.raises(Unavailable, match="No matching distribution found"):
        Venv(("no-such-package-of-pgq==1.0",)).line("x")
    assert not (tmp_path / "pgq-bench" / "no-such-package-of-pgq-1.0" / homes.INSTALLED).exists()


def test_a_python_or_a_node_that_is_missing_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Unavailable, match="needs Python 99"):
        Venv(("x==1.0",), python=(99, 0)).line("x")
    with pytest.raises(Unavailable, match="needs Node and npm"):
        Node(("x@1.0",)).line("x")


def test_what_is_installed_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    root = tmp_path / "pgq-bench" / "celery-5.7.0"
    root.mkdir(parents=True)
    (root / homes.INSTALLED).touch()

    words = Venv(("celery[redis]==5.7.0",)).line("celery").words

    assert words == [str(root / "bin" / "python"), "-m", "benchmarks.peers.programs.celery"]


def test_celery_is_left_out_without_a_redis_and_the_report_says_why() -> None:
    found, left_out = line.ready(["pgq", "celery"], redis=False)

    text = report.summary("x", {**MANIFEST, **line.described(found, left_out)}, [], [])
    assert [peer.name for peer in found] == ["pgq"]
    assert "Left out: celery: needs --redis-url beside --dsn." in text
    assert f"| pgq | {line.peer('pgq').version} on Python 3." in text


def test_an_unknown_peer_or_measure_is_wrong_usage() -> None:
    for words in (["--only", "pgq,nobody"], ["--measures", "speed"], ["--add"]):
        assert CliRunner().invoke(line.peers, words).exit_code == 2, words


@pytest.mark.parametrize(
    ("dsn", "uri"),
    [
        ("postgresql://me@h:5433/db", "postgresql://me@h:5433/db"),
        ("host=h dbname=db user=me password='a b/c'", "postgresql://me:a%20b%2Fc@h:5432/db"),
        ("host=/run/pg dbname=db user=me", "postgresql://me@%2Frun%2Fpg:5432/db"),
        ("dbname=db sslmode=require", "postgresql://localhost:5432/db?sslmode=require"),
    ],
)
def test_a_dsn_becomes_a_uri_that_every_driver_reads(dsn: str, uri: str) -> None:
    assert url.postgres(dsn) == uri


def test_a_broker_on_a_socket_is_named_as_celery_names_it() -> None:
    assert url.broker("unix:///run/r.sock") == "redis+socket:///run/r.sock"
    assert url.broker("redis://h:1/2") == "redis://h:1/2"


def test_a_program_of_a_peer_needs_nothing_of_ours() -> None:
    for path in Path(ours.__file__).parent.glob("*.py"):
        if path.name != "pgq.py":
            text = path.read_text()
            assert "from pgq." not in text, path.name
            assert "import pgq\n" not in text, path.name
    assert sys.executable in homes.Here().line("pgq").words
