from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

FAST = {"fsync": "off", "shared_buffers": "16MB", "max_connections": 20}
Ask = Callable[[str, str], Any]
Python = Callable[..., "subprocess.Popen[str]"]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
