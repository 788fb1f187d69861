"""The README is true: its quickstart runs as written, its commands exist, its figures have a result behind them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import psycopg
from factory import make_task

from pgq.cli.__main__ import cli
from pgq.readonly import ask

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_quickstart_runs_as_written(empty_dsn: str, redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(blocks("python")[0])
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    for name, module in (("pgq", "-m pgq.cli"), ("python", "")):
        program = bin_dir / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        program.chmod(0o755)
    lines = [line.removeprefix("$ ") for line in blocks("console")[0].splitlines() if not line.startswith("$ export")]
    # As written but for the end: the reader stops the worker with ^C, the test when nothing is due any more.
    script = "\n".join(["set -e", *lines]).replace("--processes 2", "--burst")
    environment = {
        **os.environ,
        "PGQ_DSN": empty_dsn,
        "PGQ_REDIS_URL": redis_url,
        "PGQ_LIMIT_PREFIX": f"pgq:test:{uuid.uuid4().hex}",
        "PATH": f"{bin_dir}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "to ada@example.org: Your order" in done.stdout
    with psycopg.connect(empty_dsn) as conn:
        counted = conn.execute("select status::text, count(*) from pgq.tasks group by 1 order by 1").fetchall()
        assert counted == [("completed", 4), ("pending", 1)]  # the reminder is due in a minute
        (block,) = blocks("sql")[:1]
        assert conn.execute(block).fetchone() is not None
        for question in blocks("sql")[1].split(";"):
            if question.strip() and not question.strip().startswith("--"):
                conn.execute(question)


def test_the_health_questions_pass_through_pgq_sql(conn: psycopg.Connection) -> None:
    conn.execute("select setval('pgq.task_id', 17, false)")
    make_task(conn)  # number 17
    questions = [line.partition("  --")[0] for line in blocks("sql")[1].splitlines() if line.startswith("select")]
    assert len(questions) > 8
    for question in questions:
        assert ask(conn, question).as_monitor, question


def test_every_command_is_mentioned() -> None:
    for name in cli.commands:
        assert f"`pgq {name}`" in README, name


def test_every_subcommand_is_mentioned() -> None:
    for name, group in cli.commands.items():
        row = next(line for line in README.splitlines() if line.startswith("|") and f"`pgq {name}`" in line)
        for subcommand in getattr(group, "commands", {}):
            assert f"`{subcommand}`" in row, f"{name} {subcommand}"


def test_every_result_that_figures_are_taken_from_exists() -> None:
    pages = [README, *(page.read_text("utf-8") for page in (ROOT / "docs").glob("*.md"))]
    named = set(re.findall(r"benchmarks/results/[\w./-]+", "".join(pages)))
    assert named
    for path in named:
        assert (ROOT / path.rstrip(".")).exists(), path


def test_every_page_is_led_to_and_every_link_leads_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = page.read_text("utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
        assert page.parent == ROOT or f"(docs/{page.name})" in README, page.name


def test_the_compose_file_starts_commands_that_exist() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    used = set(re.findall(r"pgq (\w+)", text)) | set(re.findall(r'"pgq", "(\w+)"', text))
    assert used
    assert used <= set(cli.commands)
