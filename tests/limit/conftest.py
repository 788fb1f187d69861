from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from desk import Desk

from pgq.limiter import connect_redis


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    """A client of the server that all tests share."""
    client = connect_redis(redis_url)
    yield client
    client.close()


@pytest.fixture
def plain(redis_admin_url: str) -> Iterator[Any]:
    """A client of the same server that may do anything, for what a test does behind the product's back."""
    client = connect_redis(redis_admin_url)
    yield client
    client.close()


@pytest.fixture
def prefix(forget: Callable[[str], None]) -> Iterator[str]:
    """A key prefix of the test's own; nothing stays behind it."""
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    yield prefix
    forget(prefix)


@pytest.fixture
def desk(client: Any, prefix: str, plain: Any) -> Desk:
    """Every verb under a clock that the test owns, on a server that knows what runs: nothing."""
    desk = Desk(client, prefix, plain)
    desk.remember()
    return desk
