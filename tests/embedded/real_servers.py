from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pgq.embedded.account import Account

FAST = {"fsync": "off", "shared_buffers": "16MB", "max_connections": 20}
Ask = Callable[[str, str], Any]
Python = Callable[..., "subprocess.Popen[str]"]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
# In a checkout under /root, others can neither import what is installed, nor is it run from where it lies.
needs_an_open_place = pytest.mark.skipif(
    Account(uid=54321, gid=54321, name="somebody else", borrowed=True).blocked_at(Path(sys.prefix)) is not None,
    reason="only root may enter the place of this installation",
)
