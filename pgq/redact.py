"""What must not be seen in what is printed and logged: passwords, and the values that the database's errors quote."""

from __future__ import annotations

import re
from urllib.parse import unquote

_PASSWORDS = (r"://[^/@:]*:(.*)@", r"password\s*=\s*('(?:[^'\\]|\\.)*'|[^\s&]+)")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type when it has none.

    What follows it in a database's error (DETAIL, CONTEXT) quotes rows and parameters.
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def without_passwords(text: str, dsn: str) -> str:
    """Return `text` without any part of the password in `dsn`, wherever a misread DSN has put it."""
    for pattern in _PASSWORDS:
        for found in re.finditer(pattern, dsn):
            secret = found[1].strip("'")
            pieces = {secret, unquote(secret), *re.split(r"[@:/?#]", secret)}
            for piece in sorted(filter(None, pieces), key=len, reverse=True):
                text = re.sub(rf"(?<!\w){re.escape(piece)}(?!\w)", "***", text)
    return text
