"""What of a payload is shown: values under names that sound secret are not, unless somebody says otherwise."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pgq.seal import key_of

HIDDEN = "•••"
SECRETS = ("password", "passwd", "secret", "token", "authorization", "api_key", "apikey", "private_key", "cookie")
LONGEST = 100_000  # characters of a payload that are shown


@dataclass(frozen=True, slots=True)
class Redaction:
    """Hides the values of every name that has one of `names` in it, at any depth; or the whole payload."""

    names: tuple[str, ...] = SECRETS
    everything: bool = False

    @classmethod
    def parse(cls, text: str | None) -> Redaction:
        """Return what `--redact` says: `all`, `none`, or names in place of the usual ones; None: the usual ones."""
        match text:
            case None:
                return cls()
            case "all":
                return cls(everything=True)
            case "none":
                return cls(names=())
            case _:
                return cls(names=tuple(name.strip().lower() for name in text.split(",") if name.strip()))

    def shown(self, payload: str) -> str:
        """Return a payload, given as JSON, the way it may be seen: indented, and cut where it is very long."""
        if self.everything:
            return HIDDEN
        if name := key_of(payload):
            return f"(sealed with key {name})"
        try:
            text = json.dumps(self._without(json.loads(payload)), indent=2, ensure_ascii=False)
        except (RecursionError, ValueError):  # too deep, or a number of too many digits: enqueued from elsewhere
            text = f"{HIDDEN} (it cannot be taken apart to hide what is secret)" if self.names else payload
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n… {len(text) - LONGEST:,} characters more"

    def _without(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: HIDDEN if self._is_secret(name) else self._without(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._without(inner) for inner in value]
        return value

    def _is_secret(self, name: str) -> bool:
        return any(part in name.lower() for part in self.names)
