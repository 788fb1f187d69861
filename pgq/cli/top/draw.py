"""The live view as lines of text: pure, from the state and the size of the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from rich.text import Text

from pgq.cli.output import about, one_line
from pgq.cli.rows import StatsRow, WorkerRow
from pgq.cli.stats import span
from pgq.cli.top.look import Sight
from pgq.cli.top.state import State

BARS = "▁▂▃▄▅▆▇█"
SMALLEST = (60, 12)
HELP = """\
  ↑ ↓ page keys  select              tab  from the queues to the tasks and back
  p  pause or resume the queue       v    what runs, or dead letters
  r  retry the dead letter;          c    cancel the running task
     on a queue: all its dead ones   s    sort the queues: name, pending, age, dead
  /  filter both lists               q    end

  NEED is the slots that a queue needs so that what is due drains within a minute;
  OF is how many processes a supervisor has, and how many it may have (--processes).
  END/S is tasks that ended per second between two looks, and before. What you do is
  recorded: `pgq audit`. Any key goes back."""
HINTS = "q end  ? help  tab  ↑↓  p pause/resume  r retry  c cancel  v dead  / filter  s sort"


def frame(state: State, width: int, height: int) -> Text:
    """Return the whole screen: exactly `height` lines of at most `width` characters."""
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return Text(f"pgq top needs {SMALLEST[0]}x{SMALLEST[1]}, this is {width}x{height}"[:width])
    lines = [_title(state), _health(state)]
    room = height - len(lines) - 1
    if state.helping:
        lines += [Text(line) for line in HELP.splitlines()]
    elif state.sight is not None:
        lines += _body(state, state.sight, width, room)
    lines = lines[: height - 1]
    lines += [Text("")] * (height - 1 - len(lines)) + [_foot(state)]
    for line in lines:
        line.truncate(width)
    return Text("\n", no_wrap=True, end="").join(lines)


def _title(state: State) -> Text:
    if state.sight is None:
        return Text("pgq top", "bold")
    alive = [worker for worker in state.sight.workers if worker.alive]
    busy, slots = sum(w.running for w in alive), sum(w.concurrency for w in alive)
    rate = sum(kept[-1] for kept in state.rates.values() if kept)
    needed = sum(state.sight.needs.values())
    text = f"pgq top   {len(alive)} workers, {busy}/{slots} busy, {needed} needed   {_number(rate)} ended/s"
    return Text(text + (f"   filter: {one_line(state.filter)}" if state.filter else ""), "bold")


def _health(state: State) -> Text:
    if state.trouble:
        away = about(monotonic() - state.trouble_since)
        return Text(f"the database is away ({away}), trying again: {one_line(state.trouble)}", "bold red")
    if state.sight is None:
        return Text("looking …")
    if not state.sight.health:
        return Text("all is well", "green")
    bad = sorted(state.sight.health, key=lambda check: check[1])  # critical before warn
    more = f" (and {len(bad) - 1} more: pgq check)" if len(bad) > 1 else ""
    name, status, message = bad[0]
    return Text(f"{status}: {name}: {one_line(message)}{more}", "bold red" if status == "critical" else "yellow")


def _foot(state: State) -> Text:
    if state.question is not None:
        return Text(f"{state.question.text}  y yes, any other key no", "bold reverse")
    if state.typing:
        return Text(f"filter: {one_line(state.filter)}_   enter keeps it, escape drops it", "bold")
    return Text(one_line(state.said), "bold") if state.said else Text(HINTS, "dim")


def _body(state: State, sight: Sight, width: int, room: int) -> list[Text]:
    """Share the room: all queues and workers where they fit, tasks get the rest, nobody less than three lines."""
    workers = min(len(sight.workers) + 1, max(room // 5, 3))
    queues = min(len(state.queues) + 1, max(room - workers - 5, 3))
    tasks = max(room - queues - workers, 2)
    return [
        *_queues(state, width, queues),
        *_workers(sight.workers, workers),
        *_tasks(state, tasks),
    ]


def _queues(state: State, width: int, lines: int) -> list[Text]:
    name = min(max([len(row.queue) for row in state.queues] + [5]), max(width - 64, 12))
    wide = max(min(width - name - 62, 40), 0)
    head = f"  {'QUEUE':{name}} {'PENDING':>9} {'RUN':>5} {'NEED':>5} {'END/S':>6} "
    head += f"{'WAIT':>5} {'DEAD':>5} {'OLDEST':>6} STATE     "
    found = [Text(head + "END/S"[:wide], "reverse" if state.pane == "queues" else "bold")]
    place = state.place("queues")
    for number, row in _window(state.queues, place, lines - 1):
        found.append(_queue(state, row, name, wide, chosen=number == place and state.pane == "queues"))
    return found


def _queue(state: State, row: StatsRow, name: int, wide: int, *, chosen: bool) -> Text:
    kept = list(state.rates.get(row.queue, ()))
    rate = _number(kept[-1]) if kept else "-"
    pending = f"{'~' if row.estimated else ''}{row.pending}"
    line = Text(f"{'>' if chosen else ' '} {_cut(row.queue, name):{name}} ", "bold" if chosen else "")
    need = 0 if state.sight is None else state.sight.needs.get(row.queue, 0)
    line.append(f"{pending:>9} {row.processing:>5} {need:>5} {rate:>6} {span(row.wait_p95) or '-':>5} ")
    line.append(f"{row.dead:>5}", "red" if row.dead else "")
    line.append(f" {about(row.oldest_due_age) or '-':>6} ")
    line.append(f"{row.state:9} ", "yellow")
    line.append(sparkline(kept, wide), "cyan")
    return line


def _workers(workers: Sequence[WorkerRow], lines: int) -> list[Text]:
    found = [Text(f"  {'WORKER':30} {'STATE':9} {'BUSY':>9} {'HEARD':>6} {'OF':>10} QUEUES", "bold")]
    shown = list(workers)[: lines - 1]
    for row in shown:
        style = "" if row.state == "alive" else "yellow"
        busy = f"{row.running}/{row.concurrency}"
        text = f"  {_cut(row.name, 30):30} {row.state:9} {busy:>9} {about(row.silent_for):>6} {row.of or '-':>10}"
        text += f" {', '.join(row.queues)}"
        found.append(Text(one_line(text), style))
    if len(shown) < len(workers):
        found[0].append(f"   (and {len(workers) - len(shown)} more: pgq workers)")
    return found


def _tasks(state: State, lines: int) -> list[Text]:
    title, last = ("RUNNING", "WORKER") if state.view == "running" else ("DEAD", "ERROR")
    head = f"  {title + ' ID':>12} {'QUEUE':12} {'TASK':20} {'TRY':>3} {'FOR':>5} {last}"
    found = [Text(head, "reverse" if state.pane == "tasks" else "bold")]
    place = state.place("tasks")
    for number, job in _window(state.jobs, place, lines - 1):
        chosen = number == place and state.pane == "tasks"
        text = (
            f"{'>' if chosen else ' '} {job.id:>12} {_cut(job.queue, 12):12} {_cut(job.task, 20):20} {job.attempts:>3} "
        )
        found.append(Text(one_line(f"{text}{about(job.age):>5} {job.about or '-'}"), "bold" if chosen else ""))
    return found


def _window(rows: Sequence[Any], place: int, lines: int) -> list[tuple[int, Any]]:
    """Return the numbered rows that fit, the selected one among them."""
    first = max(min(place - lines // 2, len(rows) - lines), 0)
    return list(enumerate(rows))[first : first + max(lines, 0)]


def sparkline(values: Sequence[float], width: int) -> str:
    """Return the last values as bars, the tallest for the greatest of them."""
    last = list(values)[-width:] if width else []
    most = max(last, default=0.0)
    return "".join(BARS[round(value / most * (len(BARS) - 1))] if most else BARS[0] for value in last)


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"  # noqa: PLR2004 - as many digits as fit


def _cut(text: str, width: int) -> str:
    plain = one_line(text)
    return plain if len(plain) <= width else f"{plain[: width - 1]}…"
