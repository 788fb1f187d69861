"""What tests of the benchmarks share: running the command line, and results that were never measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.results import Outcome
from benchmarks.scenarios import drain

ROOT = Path(__file__).parents[1]
MANIFEST: dict[str, Any] = {
    "command": "x",
    "started_at": "now",
    "commit": "",
    "changed_files": [],
    "machine": {"cpus": 1, "cpu": "c", "memory": "m", "system": "s", "load_average_before": [0.0]},
    "versions": {},
    "server_settings": {},
}


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(line, check=False, cwd=ROOT, capture_output=True, text=True, timeout=150)


def outcome_of(*settled: float) -> Outcome:
    outcome = Outcome("drain")
    for repetition, rate in enumerate(settled):
        outcome.add("1 process", repetition, dict.fromkeys(drain.HEADLINE, rate))
    return outcome
