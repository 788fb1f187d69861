"""What a Redis user of the limits needs: commands, and keys below our prefix. Nothing of it is anybody else's."""

from __future__ import annotations

from typing import Any

from pgq.script import Verb

# Each command with arguments that stand for all of its kind; KEY is a key of ours. Tests hold that none is missing, and
# that none can be.
COMMANDS = {
    "del": "KEY",
    "eval": "return 1 KEY",
    "evalsha": "sha 1 KEY",
    "exists": "KEY",
    "expire": "KEY 1",
    "get": "KEY",
    "hdel": "KEY x",
    "hget": "KEY x",
    "hkeys": "KEY",
    "hmget": "KEY x",
    "hset": "KEY x 1",
    "info": "",
    "pexpire": "KEY 1",
    "set": "KEY 1",
    "time": "",
    "zadd": "KEY 1 x",
    "zcard": "KEY",
    "zincrby": "KEY 1 x",
    "zrange": "KEY 0 0",
    "zrangebyscore": "KEY 0 0",
    "zrem": "KEY x",
    "zremrangebyrank": "KEY 0 0",
    "zrevrange": "KEY 0 0",
    "zscore": "KEY x",
}


def line(prefix: str, user: str = "pgq") -> str:
    """Return the user as a line of an ACL file (after `ACL SETUSER` the same without its first word)."""
    rights = " ".join(f"+{command}" for command in COMMANDS)
    return f"user {user} on >PASSWORD resetkeys ~{prefix}:* resetchannels -@all {rights}"


def missing(prefix: str) -> Verb:
    """Return the call that tells which commands its user may not run, or not on our keys; changes nothing.

    A server that cannot tell (before Redis 7) names none.
    """
    args: list[str | int] = []
    for command, words in COMMANDS.items():
        spelled = [f"{prefix}:probe" if word == "KEY" else word for word in words.split()]
        args += [command, len(spelled), *spelled]
    return Verb("rights", [f"{prefix}:probe"], args)


def named(reply: Any) -> list[str]:
    """Return the commands in a reply to `missing`."""
    return sorted(word.decode() if isinstance(word, bytes) else str(word) for word in reply)
