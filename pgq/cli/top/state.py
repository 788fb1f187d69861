"""What the live view shows of what it sees: selection, order, filter, questions. Keys go in; nothing is drawn here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from pgq.cli.rows import StatsRow
from pgq.cli.top import deeds
from pgq.cli.top.look import Deed, Job, News, Sight

KEPT = 120  # looks of which the rates are kept
SORTS: dict[str, Callable[[StatsRow], tuple[float | str, ...]]] = {
    "name": lambda row: (row.queue,),
    "pending": lambda row: (-row.pending, row.queue),
    "age": lambda row: (-(row.oldest_due_age or 0), row.queue),
    "dead": lambda row: (-row.dead, row.queue),
}
Pane = Literal["queues", "tasks"]
View = Literal["running", "dead"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is about to be done, if the answer is yes."""

    text: str
    deed: Deed


@dataclass
class State:
    """The whole state of the view."""

    sight: Sight | None = None
    trouble: str = ""
    trouble_since: float = 0.0
    said: str = ""
    pane: Pane = "queues"
    view: View = "running"
    sort: str = "name"
    filter: str = ""
    typing: bool = False
    helping: bool = False
    ended: bool = False
    question: Question | None = None
    chosen: dict[str, str | int] = field(default_factory=dict)  # what is selected: a queue's name, a task's id
    rates: dict[str, deque[float]] = field(default_factory=dict)  # ends per second, by queue, one a look

    def hear(self, news: News, now: float) -> None:
        """Take up what the looking thread says."""
        if news.said:
            self.said = news.said
        if news.trouble:
            self.trouble_since = self.trouble_since if self.trouble else now
            self.trouble = news.trouble
        if news.sight is not None:
            self.trouble = ""
            self._keep_rates(news.sight)
            self.sight = news.sight

    def _keep_rates(self, sight: Sight) -> None:
        if self.sight is None:
            return
        passed = max(sight.at - self.sight.at, 0.001)
        for queue, total in sight.totals.items():
            ended = total - self.sight.totals.get(queue, total)
            self.rates.setdefault(queue, deque(maxlen=KEPT)).append(max(ended, 0) / passed)

    @property
    def queues(self) -> list[StatsRow]:
        """The queues that fit the filter, in order."""
        rows = self.sight.queues if self.sight else []
        return sorted((row for row in rows if self.filter in row.queue), key=SORTS[self.sort])

    @property
    def jobs(self) -> list[Job]:
        """The tasks that fit the filter: by their queue, name, worker or error."""
        rows: list[Job] = [] if self.sight is None else getattr(self.sight, self.view)
        return [row for row in rows if self.filter in f"{row.queue} {row.task} {row.about or ''} {row.id}"]

    def place(self, pane: Pane) -> int:
        """Return which line of a pane is selected; the first where the selected one is gone."""
        names = self._names(pane)
        chosen = self.chosen.get(pane)
        return names.index(chosen) if chosen in names else 0

    def _names(self, pane: Pane) -> list[str | int]:
        return [row.queue for row in self.queues] if pane == "queues" else [row.id for row in self.jobs]

    def press(self, key: str) -> Deed | None:
        """Act upon a key; returns what is to be done to the database."""
        self.said = ""
        if self.question is not None:
            question, self.question = self.question, None
            return question.deed if key in {"y", "enter"} else None
        if self.helping:
            self.helping = False
        elif self.typing:
            self._type(key)
        elif key in MOVES:
            self._move(MOVES[key])
        elif key in KEYS:
            KEYS[key](self)
        return None

    def _type(self, key: str) -> None:
        if key in {"enter", "escape"}:
            self.typing = False
            self.filter = "" if key == "escape" else self.filter
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif len(key) == 1:
            self.filter += key

    def _move(self, by: int) -> None:
        names = self._names(self.pane)
        if names:
            place = min(max(self.place(self.pane) + by, 0), len(names) - 1)
            self.chosen[self.pane] = names[place]

    def _selected(self) -> tuple[StatsRow | None, Job | None]:
        if self.pane == "queues":
            return (self.queues[self.place("queues")] if self.queues else None), None
        return None, (self.jobs[self.place("tasks")] if self.jobs else None)

    def ask_pause(self) -> None:
        """Ask whether to pause or resume the selected queue."""
        queue, _ = self._selected()
        if queue is None:
            self.said = "select a queue first: tab goes there"
            return
        verb: Literal["pause", "resume"] = "resume" if queue.paused else "pause"
        self.question = Question(f"{verb} queue {queue.queue}?", deeds.steer_queue(verb, queue.queue))

    def ask_retry(self) -> None:
        """Ask whether to start the selected dead letter over, or all of the selected queue."""
        queue, job = self._selected()
        if queue is not None:
            self.question = Question(f"replay all dead letters of {queue.queue}?", deeds.replay(queue.queue))
        elif job is not None and self.view == "dead":
            self.question = Question(f"retry task {job.id} ({job.task})?", deeds.retry(job.id))
        else:
            self.said = "only dead letters can be retried: v shows them"

    def ask_cancel(self) -> None:
        """Ask whether to cancel the selected running task."""
        _, job = self._selected()
        if job is None or self.view != "running":
            self.said = "select a running task first: tab, v"
            return
        self.question = Question(f"cancel task {job.id} ({job.task})?", deeds.cancel(job.id))

    def next_pane(self) -> None:
        """Go to the other pane."""
        self.pane = "tasks" if self.pane == "queues" else "queues"

    def next_view(self) -> None:
        """Show the other tasks."""
        self.pane, self.view = "tasks", ("dead" if self.view == "running" else "running")

    def next_sort(self) -> None:
        """Sort the queues by the next thing."""
        names = list(SORTS)
        self.sort = names[(names.index(self.sort) + 1) % len(names)]
        self.said = f"queues by {self.sort}"

    def switch(self, name: Literal["typing", "helping", "ended"]) -> None:
        """Begin to type a filter, show the help, or end."""
        setattr(self, name, True)


MOVES = {"up": -1, "down": 1, "k": -1, "j": 1, "page up": -10, "page down": 10, "home": -1_000_000, "end": 1_000_000}
KEYS: dict[str, Callable[[State], None]] = {
    "p": State.ask_pause,
    "r": State.ask_retry,
    "c": State.ask_cancel,
    "tab": State.next_pane,
    "back tab": State.next_pane,
    "v": State.next_view,
    "s": State.next_sort,
    "/": lambda state: state.switch("typing"),
    "?": lambda state: state.switch("helping"),
    "h": lambda state: state.switch("helping"),
    "q": lambda state: state.switch("ended"),
}
