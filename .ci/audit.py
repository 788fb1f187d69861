"""Ask which locked dependencies have known vulnerabilities; what is found fails, what cannot be asked is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements" / "lock.txt"


def verdict(found: list[dict[str, Any]]) -> tuple[list[str], int]:
    """Return what to print of pip-audit's dependencies, and 1 where one has a known vulnerability."""
    unknown = [one["name"] for one in found if "skip_reason" in one]
    known = [
        f"{one['name']} {one['version']}: {bad['id']}, fixed in {', '.join(bad['fix_versions']) or 'no version'}"
        for one in found
        for bad in one.get("vulns", ())
    ]
    lines = [
        *known,
        f"{len(found) - len(unknown)} of {len(found)} locked dependencies looked up: {len(known)} findings",
    ]
    if unknown:
        lines.append(f"NOT looked up, for the vulnerability service does not answer: {', '.join(unknown)}")
    return lines, 1 if known else 0


def main() -> int:
    """Return 1 when a dependency has a known vulnerability."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "-r", str(LOCK), "-f", "json"]
    asked = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        lines, code = verdict(json.loads(asked.stdout)["dependencies"])
    except (ValueError, KeyError):
        said = asked.stderr.strip().splitlines() or ["it says nothing"]
        lines, code = [f"NOT looked up, for the vulnerability service cannot be asked: {said[-1]}"], 0
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
