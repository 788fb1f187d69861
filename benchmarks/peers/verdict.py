"""How pgq stands beside each peer, said plainly, above all where a peer is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.results import Outcome, Spread, number, spreads

OURS = "pgq"

Found = Mapping[str, Mapping[str, Spread]]


def compare(outcome: Outcome, headline: Sequence[str], lower_is_better: Sequence[str], note: str = "") -> list[str]:
    """Return lines for people: our median by each peer's, plainly where a peer is better, and a note."""
    found = spreads(outcome)
    table, better = [], []
    for case, ours in _rivals(found).items():
        theirs = found[case]
        ratios = {metric: _ratio(ours, theirs, metric) for metric in headline}
        cells = (f"{ratio:.2f}" if ratio else "" for ratio in ratios.values())
        table.append(f"| {case} | {' | '.join(cells)} |")
        better += [
            f"- {case}: {metric} {number(theirs[metric].median)}, pgq {number(ours[metric].median)}"
            for metric, ratio in ratios.items()
            if ratio and (ratio > 1 if metric in lower_is_better else ratio < 1)
        ]
    if not table:
        return []
    head = [f"| pgq / peer | {' | '.join(headline)} |", "|---" * (len(headline) + 1) + "|"]
    notes = [note, ""] if note else []
    return [*head, *table, "", "Where a peer is better:", "", *(better or ["- nowhere in these figures"]), "", *notes]


def _rivals(found: Found) -> dict[str, Mapping[str, Spread]]:
    """Return for each case of a peer what we have of the same kind."""
    ours = {case: found.get(OURS + "".join(case.partition(",")[1:])) for case in found}
    return {case: mine for case, mine in ours.items() if mine and mine is not found[case]}


def _ratio(ours: Mapping[str, Spread], theirs: Mapping[str, Spread], metric: str) -> float | None:
    """Return our median by theirs; none where one of the two is missing or nothing."""
    both = metric in ours and metric in theirs and ours[metric].median and theirs[metric].median
    return ours[metric].median / theirs[metric].median if both else None
