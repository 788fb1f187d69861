"""Every command teaches: what it does, how it is used. And help comes at once: nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pgq.cli.__main__ import cli
from pgq.version import __version__

ROOT = Path(__file__).parents[2]
HEAVY = ("psycopg", "redis", "sqlglot", "asyncio", "pgq.app", "pgq.worker", "pgq.embedded", "pgq.demo.story")


def commands(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, *path, name)


every_command = pytest.mark.parametrize("path", list(commands(cli)), ids=lambda path: " ".join(path) or "pgq")


def help_of(path: tuple[str, ...]) -> str:
    result = CliRunner().invoke(cli, [*path, "--help"], prog_name="pgq")
    assert result.exit_code == 0
    return result.output


def modules_after(code: str) -> list[str]:
    program = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.split()


def test_the_commands_are_all_there() -> None:
    assert {" ".join(path) for path in commands(cli)} >= {
        "migrate", "worker", "enqueue", "stats", "doctor", "up", "down", "demo",
        "tasks list", "tasks show", "tasks cancel", "tasks retry", "dead list", "dead show", "dead replay",
        "queues sync", "queues list", "queues set", "queues pause", "queues resume",
        "alerts list", "alerts add", "alerts remove", "alerts test", "alerts history",
    }  # fmt: skip


@every_command
def test_a_command_that_works_on_a_database_takes_its_dsn(path: tuple[str, ...]) -> None:
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    takes = any("--dsn" in option.opts for option in command.params)
    assert takes is (path not in {("up",), ("down",), ("limits", "acl")}) or isinstance(command, click.Group)


@every_command
def test_a_command_says_what_it_does_and_shows_an_example(path: tuple[str, ...]) -> None:
    text = help_of(path)
    lines = [line.strip() for line in text.splitlines()]
    assert lines[2].endswith((".", ":"))
    assert len(lines[2]) > 15
    assert any(line.startswith(" ".join(["pgq", *path])) for line in lines[3:])


@every_command
def test_the_examples_of_a_command_are_not_rewrapped(path: tuple[str, ...]) -> None:
    mark = "A first tour:" if not path else "Examples:"
    lines = help_of(path).splitlines()
    start = lines.index(f"  {mark}")
    examples = lines[start + 1 : lines.index("", start)]
    assert examples
    assert all(line.startswith("    ") for line in examples)


@every_command
def test_every_option_of_a_command_has_help(path: tuple[str, ...]) -> None:
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    silent = [option.name for option in command.params if isinstance(option, click.Option) and not option.help]
    assert silent == []


@pytest.mark.parametrize("path", [path for path in commands(cli) if path], ids=" ".join)
def test_every_command_of_a_database_takes_a_dsn(path: tuple[str, ...]) -> None:
    needs_one = path not in {("up",), ("down",), ("tasks",), ("dead",), ("queues",), ("alerts",), ("limits", "acl")}
    assert ("--dsn URL" in help_of(path)) is needs_one


def test_the_list_of_commands_cuts_no_sentence_short() -> None:
    assert "..." not in help_of(()).partition("Commands:")[2]


def test_the_version_is_that_of_the_code() -> None:
    assert CliRunner().invoke(cli, ["--version"], prog_name="pgq").output == f"pgq {__version__}\n"


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli, ["migrat"], prog_name="pgq")
    assert result.exit_code == 2
    assert "No such command" in result.stderr


def test_the_command_line_is_imported_without_drivers() -> None:
    assert [name for name in modules_after("import pgq.cli.__main__") if name in HEAVY] == []


def test_python_dash_m_runs_it() -> None:
    done = subprocess.run([sys.executable, "-m", "pgq.cli", "--version"], check=True, capture_output=True, cwd=ROOT)
    assert done.stdout.decode() == f"pgq {__version__}\n"
