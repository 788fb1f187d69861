"""Bar charts of a result, where matplotlib is installed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import scenario
from benchmarks.results import Outcome, Spread, number, spreads

WIDE = 30  # most to least, from which on a linear axis would hide the small ones


def draw(directory: Path, outcomes: Sequence[Outcome]) -> list[str]:
    """Draw one picture per scenario; returns their names, none without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return []
    importlib.import_module("matplotlib").use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    names = []
    for outcome in filter(lambda outcome: outcome.samples, outcomes):
        name = f"{outcome.scenario}.png"
        _bars(pyplot, outcome).savefig(directory / name, dpi=110)
        names.append(name)
    pyplot.close("all")
    return names


def _bars(pyplot: Any, outcome: Outcome) -> Any:
    """Return a figure: one row of bars per headline metric, one bar per case, from least to most a line."""
    cases = spreads(outcome)
    metrics = [m for m in scenario(outcome.scenario).HEADLINE if all(m in found for found in cases.values())]
    height = 0.5 + len(metrics) * (0.8 + 0.3 * len(cases))
    figure, axes = pyplot.subplots(len(metrics), 1, figsize=(9, height), layout="constrained", squeeze=False)
    for metric, axis in zip(metrics, axes[:, 0], strict=True):
        found = [cases[case][metric] for case in cases]
        bars = axis.barh(list(cases), [spread.median for spread in found], xerr=_reach(found), capsize=3)
        axis.bar_label(bars, labels=[number(spread.median) for spread in found], padding=6)
        wide = max(spread.max for spread in found) > WIDE * min(spread.min for spread in found)
        axis.set_xscale("log" if wide else "linear")
        axis.set_title(f"{metric} (logarithmic)" if wide else metric, loc="left", fontsize=10)
        axis.invert_yaxis()
        axis.margins(x=0.15)
    return figure


def _reach(found: Sequence[Spread]) -> list[list[float]]:
    return [[s.median - s.min for s in found], [s.max - s.median for s in found]]
