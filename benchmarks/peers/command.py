"""The command line of the comparison: `python -m benchmarks peers`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import click

from benchmarks import report
from benchmarks.harness import Bench
from benchmarks.manifest import manifest
from benchmarks.peers.homes import Unavailable, runtime
from benchmarks.peers.peer import Peer
from benchmarks.results import Outcome
from benchmarks.server import servers

NAMES = ("pgq", "pgqueuer", "graphile-worker", "pg-boss", "awa", "oban", "procrastinate", "celery")
MEASURES = ("drain", "enqueue", "wakeup", "pinned", "readers", "backlog")


class Measure(Protocol):
    """A module in `benchmarks/peers/measures`."""

    def run(self, bench: Bench, peers: Sequence[Peer]) -> Outcome:
        """Measure."""


def _choose(among: Sequence[str]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    def chosen(_context: click.Context, _option: click.Parameter, text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        if unknown := [name for name in names if name not in among]:
            raise click.BadParameter(f"{', '.join(unknown)}: not among {', '.join(among)}")
        return [name for name in among if name in names]

    return chosen


@click.command()
@click.option("--only", default=",".join(NAMES), callback=_choose(NAMES), metavar="PEERS", show_default=True)
@click.option("--measures", default=",".join(MEASURES), callback=_choose(MEASURES), metavar="WHAT", show_default=True)
@click.option("--dsn", default="", help="A server where databases may be created. Default: an embedded one.")
@click.option("--redis-url", default="", help="A Redis for celery; needed beside --dsn. Default: an embedded one.")
@click.option("--repetitions", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", type=float, help="Seconds of pinned, readers and backlog, in place of their own.")
@click.option("--quick", is_flag=True, help="A few seconds, to see that it works; the figures mean nothing.")
@click.option("--json", "as_lines", is_flag=True, help="Print one JSON object per measure instead of the summary.")
@click.option("--keep", default="", metavar="WHAT", help="Keep the result as results/<date>-WHAT, to be committed.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the result to this directory instead.")
@click.option("--add", is_flag=True, help="Add to the result that is in --out, as further repetitions.")
def peers(
    only: Sequence[str],
    measures: Sequence[str],
    dsn: str,
    redis_url: str,
    repetitions: int,
    seconds: float | None,
    quick: bool,
    as_lines: bool,
    keep: str,
    out: Path | None,
    add: bool,
) -> None:
    """Measure pgq beside other task queues on the same server. Exits with 1 when a run was invalid.

    Each peer runs in an environment of its own, made on first use below ~/.cache/pgq-bench.
    """
    if add and out is None:
        raise click.UsageError("--add needs --out")
    directory = out or report.directory(keep)
    found, left_out = ready(only, redis=not dsn or bool(redis_url))
    with servers(dsn, redis_url, {}) as at:
        origin = {**manifest(at, sys.argv[1:]), **described(found, left_out)}
        bench = Bench(at.dsn, quick, 1 if quick else repetitions, _say, at.redis_url, seconds)
        outcomes = [_measure(name).run(bench, found) for name in measures]
    if add:
        origin, outcomes = report.added(directory, origin, outcomes)
    report.write(directory, origin, outcomes)
    _say(f"written to {directory}")
    report.show(directory, outcomes, _say, as_lines=as_lines)
    sys.exit(any(outcome.problems for outcome in outcomes))


def ready(names: Sequence[str], *, redis: bool) -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that can run here, installed, and for each other the reason."""
    found, left_out = [], {}
    for name in names:
        one = peer(name)
        if reason := missing(one, redis=redis):
            left_out[name] = reason
            _say(f"left out: {name}: {reason}")
        else:
            found.append(one)
    return found, left_out


def missing(one: Peer, *, redis: bool) -> str:
    """Install a peer where it is not; returns why it cannot run, empty when it can."""
    if one.redis and not redis:
        return "needs --redis-url beside --dsn"
    try:
        one.home.line(one.program)
    except Unavailable as reason:
        return str(reason)
    return ""


def described(found: Sequence[Peer], left_out: Mapping[str, str]) -> dict[str, Any]:
    """Return what the manifest says of peers."""
    peers = {
        one.name: {
            "version": f"{one.version} on {runtime(one.home.line(one.program).words[0])}",
            "settings": one.settings,
            "retention": one.retention,
        }
        for one in found
    }
    return {"peers": peers, "left_out": dict(left_out)}


def peer(name: str) -> Peer:
    """Return a peer by its name."""
    module = importlib.import_module(f"benchmarks.peers.{name.replace('-', '_')}")
    return cast("Peer", module.PEER)


def _measure(name: str) -> Measure:
    return cast("Measure", importlib.import_module(f"benchmarks.peers.measures.{name}"))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
