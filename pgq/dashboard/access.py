"""Who may read and who may steer: a token opens a session, a session has a name and a cookie, a form carries its proof.

A browser's request that changes something must come from a page of ours (Origin), from a session (a SameSite=Strict
cookie that scripts cannot read), and carry the session's own form token. A program sends `Authorization: Bearer` with
the token instead, which no page elsewhere can make a browser do.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from pgq.dashboard.settings import Settings

MOST = 1_000  # sessions; the oldest goes first
LIFE = 12 * 3600.0  # seconds a session lasts after it was last used
LONGEST_NAME = 60


@dataclass(slots=True)
class Session:
    """One login: who, the token of its forms, when it ends, and what is to be said on its next page."""

    name: str
    form_token: str
    until: float
    said: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who sent a request: what they may do; a session if a browser did, none for a program or a stranger."""

    reads: bool
    steers: bool
    session: Session | None = None

    @property
    def actor(self) -> str:
        """How the audit names them."""
        name = self.session.name if self.session else ""
        return f"{name} (dashboard)" if name else "dashboard"


class Access:
    """The token and the sessions it opened."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = monotonic) -> None:
        self._token = settings.token
        self._cookie = settings.cookie
        self._locked = settings.locked
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def visitor(self, request: Request) -> Visitor:
        """Return who sent a request."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._fits(given.strip()):
            return Visitor(reads=True, steers=True)
        if session := self._session(request.cookies.get(self._cookie, "")):
            return Visitor(reads=True, steers=True, session=session)
        return Visitor(reads=not self._locked, steers=False)

    def enter(self, token: str, name: str, answer: Response, *, secure: bool) -> bool:
        """Open a session if the token fits, and put its cookie into the answer; returns whether it does."""
        if not self._fits(token):
            return False
        key = secrets.token_urlsafe(32)
        name = "".join(letter for letter in name if letter.isprintable()).strip()[:LONGEST_NAME]
        self._sessions[key] = Session(name, secrets.token_urlsafe(24), self._clock() + LIFE)
        while len(self._sessions) > MOST:
            self._sessions.popitem(last=False)
        answer.set_cookie(self._cookie, key, path="/", httponly=True, samesite="strict", secure=secure)
        return True

    def leave(self, request: Request, answer: Response) -> None:
        """End a request's session."""
        self._sessions.pop(request.cookies.get(self._cookie, ""), None)
        answer.delete_cookie(self._cookie, path="/", httponly=True, samesite="strict")

    def _session(self, key: str) -> Session | None:
        session = self._sessions.get(key)
        if session is None:
            return None
        if session.until < self._clock():
            del self._sessions[key]
            return None
        session.until = self._clock() + LIFE
        return session

    def _fits(self, token: str) -> bool:
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode("utf-8", "replace"))


def from_our_page(request: Request) -> bool:
    """Return whether a browser sent this from a page of the same host; no Origin is no proof."""
    return urlsplit(request.headers.get("origin", "")).netloc == request.headers.get("host", "") != ""


def proves_its_form(session: Session, given: str) -> bool:
    """Return whether a form carries the token of its session."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), session.form_token.encode())
