"""Each fuzz target for a moment; PGQ_FUZZ=3600 gives each so many seconds, from what earlier runs found (corpus/)."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SECONDS = int(os.environ.get("PGQ_FUZZ", "0"))
TREE = ast.parse((HERE / "fuzz_targets.py").read_text("utf-8"))
TARGETS = next(
    [name.id for name in each.value.generators[0].iter.elts]
    for each in TREE.body
    if isinstance(each, ast.Assign) and each.targets[0].id == "TARGETS"
)


@pytest.mark.timeout(SECONDS + 170)
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_unforeseen_comes_out_of(target: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="no atheris here: it has wheels for Linux on x86-64")
    corpus = HERE / "corpus" / target if SECONDS else tmp_path
    corpus.mkdir(parents=True, exist_ok=True)
    length = [f"-max_total_time={SECONDS}"] if SECONDS else ["-runs=3000", "-seed=1", "-max_total_time=60"]
    command = [sys.executable, str(HERE), target, *length, "-timeout=20", f"-artifact_prefix={tmp_path}/", str(corpus)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS + 160)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
