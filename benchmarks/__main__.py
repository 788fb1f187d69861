"""The command line: `python -m benchmarks list | run SCENARIO… | report [DIRECTORY]`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks import harness, report
from benchmarks.manifest import manifest
from benchmarks.peers.command import peers
from benchmarks.server import servers


@click.group()
def main() -> None:
    """Measure pgq. Figures are worth something only on a machine that does nothing else meanwhile."""


@main.command("list")
def list_scenarios() -> None:
    """Print the scenarios, each with its first sentence."""
    for name in harness.names():
        print(f"{name:10} {(harness.scenario(name).__doc__ or '').splitlines()[0]}")


@main.command()
@click.argument("scenarios", nargs=-1, required=True, type=click.Choice(harness.names()), metavar="SCENARIO…")
@click.option("--dsn", default="", help="A server where databases may be created. Default: an embedded one.")
@click.option("--redis-url", default="", help="A Redis for the limits; needed beside --dsn. Default: an embedded one.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the embedded server.")
@click.option("--repetitions", default=3, show_default=True, type=click.IntRange(1))
@click.option("--quick", is_flag=True, help="A few seconds, to see that it works; the figures mean nothing.")
@click.option("--case", "cases", multiple=True, metavar="TEXT", help="Only cases whose name has this in it.")
@click.option("--seconds", type=click.FloatRange(1), help="How long each run lasts: latency, pinned, readers, soak.")
@click.option("--offered", type=click.FloatRange(1), help="Tasks/s that are offered: pinned, readers, soak, history.")
@click.option("--json", "as_lines", is_flag=True, help="Print one JSON object per scenario instead of the summary.")
@click.option("--keep", default="", metavar="WHAT", help="Keep the result as results/<date>-WHAT, to be committed.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the result to this directory instead.")
def run(
    scenarios: Sequence[str],
    dsn: str,
    redis_url: str,
    settings: Sequence[str],
    repetitions: int,
    quick: bool,
    cases: tuple[str, ...],
    seconds: float | None,
    offered: float | None,
    as_lines: bool,
    keep: str,
    out: Path | None,
) -> None:
    """Run scenarios one after the other and write the result. Exits with 1 when a run was invalid."""
    directory = out or report.directory(keep)
    with servers(dsn, redis_url, dict(_pair(text) for text in settings)) as at:
        origin = manifest(at, sys.argv[1:])
        times = 1 if quick else repetitions
        bench = harness.Bench(at.dsn, quick, times, _say, at.redis_url, seconds, offered, cases)
        outcomes = [harness.scenario(name).run(bench) for name in scenarios]
    report.write(directory, origin, outcomes)
    _say(f"written to {directory}")
    report.show(directory, outcomes, _say, as_lines=as_lines)
    sys.exit(any(outcome.problems for outcome in outcomes))


@main.command("report")
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
def report_again(directory: Path | None) -> None:
    """Write SUMMARY.md and the pictures of a result again (default: the newest) and print the summary."""
    print(report.summarise(directory or report.latest()))


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise click.BadParameter(f"--set takes NAME=VALUE, got {text!r}")
    return name, value


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


main.add_command(peers)

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # so that no server is left behind
    main()
