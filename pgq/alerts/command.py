"""A command: a program and its arguments, no shell; the note is JSON on its standard input, exit code 0 is success.

Rules and targets are rows of the database, and whoever may write them must not thereby run programs on the workers'
hosts: a worker runs only the programs that its own environment allows, by PGQ_ALERT_COMMANDS.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pgq.alerts.note import DeliveryError, Note
from pgq.errors import InvalidOption

ALLOWED = "PGQ_ALERT_COMMANDS"  # absolute paths of programs, with a colon in between
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")  # of the worker's environment; its DSN is not
PATIENCE = 20.0  # seconds


def check(settings: Mapping[str, Any]) -> None:
    """Raise InvalidOption for what is no list of a program and its arguments."""
    argv = settings["argv"]
    if not (isinstance(argv, list) and argv and all(isinstance(word, str) and "\0" not in word for word in argv)):
        raise InvalidOption('a command must be a JSON list of texts, such as ["/usr/local/bin/page", "--team", "ops"]')
    if not Path(argv[0]).is_absolute():
        raise InvalidOption(f"a command must begin with the absolute path of a program, got {argv[0]!r:.80}")


def shown(settings: Mapping[str, Any]) -> str:
    """Return the program; arguments may be secret."""
    return str(settings["argv"][0]) + (" …" if len(settings["argv"]) > 1 else "")


def send(settings: Mapping[str, Any], note: Note) -> None:
    """Deliver a note. Raises DeliveryError, InvalidOption."""
    check(settings)
    argv = settings["argv"]
    if argv[0] not in os.environ.get(ALLOWED, "").split(os.pathsep):
        raise DeliveryError(f"command {note.target}: {argv[0]} is not in {ALLOWED} of this worker")
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
            env={**environment, "PGQ_ALERT_ID": note.id}, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise DeliveryError(f"command {note.target}: {argv[0]}: {error.strerror}") from None
    with process:
        try:
            process.communicate(json.dumps(note.document, ensure_ascii=False).encode(), PATIENCE)
        except subprocess.TimeoutExpired:
            raise DeliveryError(f"command {note.target}: not done within {PATIENCE:g} s") from None
        finally:
            _end(process)
    if process.returncode:
        raise DeliveryError(f"command {note.target}: ended with {process.returncode}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a command that still runs, with all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
