"""`python -m pgq.demo [DSN]`: the demo without the command line around it. A DSN needs PGQ_REDIS_URL as well."""

from __future__ import annotations

import os
import sys

import psycopg

from pgq.demo.plan import Plan
from pgq.demo.run import main
from pgq.errors import PgqError

if __name__ == "__main__":
    try:
        dsn, redis_url = next(iter(sys.argv[1:]), ""), os.environ.get("PGQ_REDIS_URL", "")
        sys.exit(main(Plan(dsn=dsn, redis_url=redis_url), as_json=False))
    except (PgqError, psycopg.Error) as error:
        sys.exit(f"demo: {error}")
