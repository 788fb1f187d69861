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
    """Return a figure: one row of bars per headline metric, one bar per case that has it, least to most a line."""
    rows = _rows(outcome)
    heights = [0.8 + 0.3 * len(cases) for cases in rows.values()]
    figure, axes = pyplot.subplots(
        len(rows), 1, figsize=(9, 0.5 + sum(heights)), height_ratios=heights, layout="constrained", squeeze=False
    )
    for (metric, cases), axis in zip(rows.items(), axes[:, 0], strict=True):
        found = list(cases.values())
        bars = axis.barh(list(cases), [spread.median for spread in found], xerr=_reach(found), capsize=3)
        axis.bar_label(bars, labels=[number(spread.median) for spread in found], padding=6)
        wide = max(spread.max for spread in found) > WIDE * min(spread.min for spread in found)
        axis.set_xscale("log" if wide else "linear")
        axis.set_title(f"{metric} (logarithmic)" if wide else metric, loc="left", fontsize=10)
        axis.invert_yaxis()
        axis.margins(x=0.15)
    return figure


def _rows(outcome: Outcome) -> dict[str, dict[str, Spread]]:
    """Return for each headline metric the cases that have it."""
    cases = spreads(outcome)
    metrics = scenario(outcome.scenario).HEADLINE
    rows = {metric: {case: found[metric] for case, found in cases.items() if metric in found} for metric in metrics}
    return {metric: row for metric, row in rows.items() if row}


def _reach(found: Sequence[Spread]) -> list[list[float]]:
    return [[s.median - s.min for s in found], [s.max - s.median for s in found]]
