"""`python -m pgq.demo [DSN]`: the demo without the command line around it."""

from __future__ import annotations

import sys

import psycopg

from pgq.demo.run import main
from pgq.errors import PgqError

if __name__ == "__main__":
    try:
        sys.exit(main(dsn=next(iter(sys.argv[1:]), None), seconds=100, tasks=400, as_json=False))
    except (PgqError, psycopg.Error) as error:
        sys.exit(f"demo: {error}")
