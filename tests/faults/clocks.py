"""A wall clock that can be set: libfaketime, before a process of ours, reads how far off it is from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

LIBRARIES = [path for path in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1") if path.exists()]
NEEDED = pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed")


class Clock:
    """The clock of all processes started with `env`; right at first."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)
        file.chmod(0o644)

    def set(self, seconds: float) -> None:
        """Let it be so many seconds ahead, or behind, from now on."""
        half = self._file.with_suffix(".new")
        half.write_text(f"{seconds:+}")
        half.chmod(0o644)
        half.replace(self._file)

    @property
    def env(self) -> dict[str, str]:
        """What to add to a process's environment."""
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
