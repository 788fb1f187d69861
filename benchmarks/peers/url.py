"""Where the servers are, in the one form that the drivers of all peers read."""

from __future__ import annotations

from urllib.parse import quote, urlencode, urlsplit

from psycopg.conninfo import conninfo_to_dict


def postgres(dsn: str) -> str:
    """Return a DSN as a URI; a socket's directory is its host, percent-encoded, as all agree."""
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    user = quote(parts.pop("user", ""), safe="")
    password = quote(parts.pop("password", ""), safe="")
    host = quote(parts.pop("host", "localhost"), safe="")
    port, name = parts.pop("port", "5432"), quote(parts.pop("dbname", ""), safe="")
    login = f"{user}:{password}@" if password else f"{user}@" if user else ""
    return f"postgresql://{login}{host}:{port}/{name}" + (f"?{urlencode(parts)}" if parts else "")


def broker(redis_url: str) -> str:
    """Return a Redis URL in the form that celery's kombu reads."""
    parts = urlsplit(redis_url)
    return f"redis+socket://{parts.path}" if parts.scheme == "unix" else redis_url
