"""`python run_worker.py worker|impatient|supervisor N|A..B`: run the app in the module FAULT_APP, settings from PGQ_*.

An impatient worker tries to start again and again until Postgres is there.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import sys
import time

import psycopg

import pgq
from pgq.scale import Span
from pgq.supervisor import Supervisor
from pgq.worker import Worker

app = importlib.import_module(os.environ.get("FAULT_APP", "fault_app")).app


async def work(config: pgq.Config) -> None:
    worker = Worker(app, config, None, os.environ.get("PGQ_WORKER_NAME", ""), os.environ.get("PGQ_WORKER_UNDER", ""))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    await worker.run()


def await_postgres(config: pgq.Config) -> None:
    while True:
        try:
            psycopg.connect(config.dsn).close()
        except psycopg.OperationalError:
            time.sleep(0.002)
        else:
            return


def main() -> None:
    logging.basicConfig(format="%(asctime)s %(process)d %(message)s", level=logging.INFO)
    config = pgq.Config.load()
    if sys.argv[1] == "impatient":
        await_postgres(config)
    if sys.argv[1] != "supervisor":
        asyncio.run(work(config))
    else:
        command = [sys.executable, __file__, "worker"]
        sys.exit(Supervisor(command, Span.parse(sys.argv[2]), config, list(app.queues)).run())


if __name__ == "__main__":
    main()
