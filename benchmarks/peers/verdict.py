"""How pgq stands beside each peer, said plainly, above all where a peer is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.results import Outcome, Spread, number, spreads

OURS = "pgq"


def compare(outcome: Outcome, headline: Sequence[str], lower_is_better: Sequence[str]) -> list[str]:
    """Return lines for people: ours beside each peer's median, and plainly where a peer is better."""
    found = spreads(outcome)
    better, ratios = [], []
    for metric in headline:
        for case, ours, theirs in _pairs(found, metric):
            worse = ours > theirs if metric in lower_is_better else ours < theirs
            ratios.append(f"| {case} | {metric} | {number(ours)} | {number(theirs)} | {ours / theirs:.2f} |")
            if worse:
                better.append(f"- {case}: {metric} {number(theirs)}, pgq {number(ours)}")
    if not ratios:
        return []
    table = ["| peer | | pgq | peer | pgq / peer |", "|---|---|---|---|---|", *ratios]
    return [*table, "", "Where a peer is better:", "", *(better or ["- nowhere in these figures"]), ""]


def _pairs(found: Mapping[str, Mapping[str, Spread]], metric: str) -> list[tuple[str, float, float]]:
    """Return each other case beside our case of the same kind, with both medians of a metric."""
    medians = {case: metrics[metric].median for case, metrics in found.items() if metric in metrics}
    pairs = []
    for case, theirs in medians.items():
        name, comma, what = case.partition(", ")
        ours = medians.get(f"{OURS}{comma}{what}", 0.0)
        if name != OURS and theirs and ours:
            pairs.append((case, ours, theirs))
    return pairs
