"""Every interleaving of a few small processes, breadth first: what one of them may do next depends on the state alone.

A process is a generator function of the shared state: what stands between two yields happens at once, as one statement
does. States are found again by replaying the choices, so that a process may keep what it knows in local variables.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

Process = Generator[None, None, None]


@dataclass
class World:
    """Shared state of one replay, and the processes in it. A process is over when its generator is."""

    state: Any
    processes: dict[str, Process]
    over: set[str] = field(default_factory=set)

    def step(self, name: str) -> None:
        try:
            next(self.processes[name])
        except StopIteration:
            self.over.add(name)

    @property
    def ready(self) -> list[str]:
        return [name for name in self.processes if name not in self.over and self.state.may(name)]

    def picture(self) -> Any:
        """Return what tells this world from others: the shared state, where each process stands, and what it knows."""
        places = []
        for name, process in self.processes.items():
            frame = process.gi_frame
            knows = {} if frame is None else frame.f_locals
            places.append((name, frame and frame.f_lasti, repr(sorted(knows.items(), key=lambda pair: pair[0]))))
        return repr(self.state), tuple(places)


def explore(make: Callable[[], World], wrong: Callable[[World], str | None]) -> tuple[int, list[str] | None]:
    """Visit every state; returns how many there are, and the shortest way to a wrong one, with what is wrong there."""
    seen = set()
    waiting: deque[tuple[str, ...]] = deque([()])
    while waiting:
        path = waiting.popleft()
        world = make()
        for name in path:
            world.step(name)
        picture = world.picture()
        if picture in seen:
            continue
        seen.add(picture)
        if complaint := wrong(world):
            return len(seen), [*path, complaint]
        waiting.extend((*path, name) for name in world.ready)
    return len(seen), None
