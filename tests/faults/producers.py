"""Producers: threads that enqueue for as long as they are told, whatever the database does to them."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from fault_app import work, work_elsewhere, work_in_process, work_in_thread
from ledger import Ledger

ALL_KINDS = (work, work, work, work_in_thread, work_in_process, work_elsewhere)


class Producer(threading.Thread):
    """Enqueues one task per transaction, `rate` a second at most, until stopped; `how` does one."""

    def __init__(self, dsn: str, ledger: Ledger, rate: float, kinds: tuple[Any, ...], how: Callable[..., str]) -> None:
        super().__init__(daemon=True)
        self._how = how
        self._dsn = dsn
        self._ledger = ledger
        self._rate = rate
        self._kinds = itertools.cycle(kinds)
        self._end = threading.Event()

    def stop(self) -> None:
        """End after the enqueue under way."""
        self._end.set()
        self.join()

    def run(self) -> None:
        while not self._end.is_set():
            with contextlib.suppress(psycopg.Error), psycopg.connect(self._dsn, autocommit=True) as conn:
                conn.prepare_threshold = None  # a pooler may be in between
                while not self._end.wait(random.uniform(0.5, 1.5) / self._rate):
                    self._how(conn, self._ledger, next(self._kinds))
            self._end.wait(0.1)


def enqueue(conn: psycopg.Connection, ledger: Ledger, task: Any, **arguments: Any) -> str:
    """Enqueue one task the way the ledger wants it: intent, commit, acknowledgement."""
    key = uuid.uuid4().hex
    ledger.write("intent", key)
    with conn.transaction():
        task_id = task.enqueue(conn, key=key, **arguments)
    ledger.write("ack", key, task_id)
    return key


@contextmanager
def producing(
    dsn: str,
    ledger: Ledger,
    rate: float,
    count: int = 2,
    kinds: tuple[Any, ...] = ALL_KINDS,
    how: Callable[..., str] = enqueue,
) -> Iterator[None]:
    """Enqueue `rate` tasks a second from several connections while the block runs."""
    producers = [Producer(dsn, ledger, rate / count, kinds, how) for _ in range(count)]
    for producer in producers:
        producer.start()
    try:
        yield
    finally:
        for producer in producers:
            producer.stop()
