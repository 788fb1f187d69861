"""The Lua files of the limiter: read once, by name, each with the words that all share in front of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "lua"


@dataclass(frozen=True, slots=True)
class Verb:
    """One call of a script: its name, its keys (all in one hash slot), its arguments."""

    name: str
    keys: Sequence[str]
    args: Sequence[str | int]

    @property
    def text(self) -> str:
        """The script."""
        return _source(self.name)[0]

    @property
    def sha(self) -> str:
        """What the server calls the script."""
        return _source(self.name)[1]


@cache
def _source(name: str) -> tuple[str, str]:
    text = "\n".join((_FOLDER / f"{part}.lua").read_text(encoding="utf-8") for part in ("limit", name))
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
