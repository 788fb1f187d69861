"""Fixtures for tests of the dashboard: the real command as a process, plain HTTP to it, and a real Chromium."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from visitor import TOKEN, Dashboard, Serve


@pytest.fixture
def serve(dsn: str) -> Iterator[Serve]:
    """Return what starts a dashboard of the test's database, with these arguments."""
    with ExitStack() as stack:

        def start(*arguments: str, dsn: str = dsn, token: str = TOKEN) -> Dashboard:
            command = [sys.executable, "-m", "pgq.cli", "dashboard", "--port", "0", *arguments]
            environment = {**os.environ, "PGQ_DSN": dsn, "PGQ_DASHBOARD_TOKEN": token, "PYTHONUNBUFFERED": "1"}
            process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            stack.callback(process.wait)
            stack.callback(process.kill)
            stack.callback(process.stdout.close)
            return Dashboard(process, int(re.search(r":(\d+)/", process.stdout.readline())[1]))

        yield start


@pytest.fixture
def dashboard(serve: Serve) -> Dashboard:
    """Return a dashboard of the test's database."""
    return serve()


@pytest.fixture
def browser() -> Iterator[Any]:
    """Return a real Chromium, Debian's or the one that Playwright brought; skips where there is none.

    Closed with its test: an open Playwright keeps an event loop running in this thread, and no test beside it
    could run one of its own.
    """
    sync_api = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with ExitStack() as stack:
        try:
            playwright = stack.enter_context(sync_api.sync_playwright())
            # Chromium's own sandbox does not work for root.
            options = ["--no-sandbox"] if os.geteuid() == 0 else []
            chromium = playwright.chromium.launch(executable_path=found, args=options)
        except Exception as error:
            if found:
                raise
            pytest.skip(f"no Chromium here: {str(error).splitlines()[0]} (apt-get install chromium)")
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Return what opens a page in a context of its own; whatever a page complains of fails the test."""
    complaints: list[str] = []
    with ExitStack() as stack:

        def open_page(url: str, **options: Any) -> Any:
            context = browser.new_context(**options)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(15_000)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
            page.goto(url)
            return page

        yield open_page
    assert complaints == []


def events(text: str) -> list[tuple[str, Any]]:
    """Return the events of a stream as far as it was read."""
    found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", text)
    return [(name, json.loads(document)) for name, document in found]
