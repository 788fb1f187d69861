"""The yardstick of CPU-bound tasks: bare processes, one per processor, that do the same work in a loop."""

from __future__ import annotations

import json
import os
import sys
import time

from benchmarks.app import work
from benchmarks.children import children

CPUS = len(os.sched_getaffinity(0))


def rate(seconds: float) -> float:
    """Return how often a second all processes together do the work."""
    with children("benchmarks.bare_loop", [{"seconds": seconds}] * CPUS) as crew:
        for child in crew:
            child.hear()
        for child in crew:
            child.tell("go")
        return float(sum(child.hear() for child in crew))


def main() -> None:
    """Work for the seconds that were ordered; say how often a second."""
    order = json.loads(sys.stdin.readline())
    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    began, times = time.monotonic(), 0
    while time.monotonic() < began + order["seconds"]:
        work()
        times += 1
    print(json.dumps(times / (time.monotonic() - began)), flush=True)


if __name__ == "__main__":
    main()
