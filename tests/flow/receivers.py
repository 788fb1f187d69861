"""Who is told: a real HTTP server and a real mail server, which keep what they got."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult


@dataclass(frozen=True, slots=True)
class Post:
    """One request."""

    path: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.content)


@dataclass(slots=True)
class Hook:
    """An HTTP server; `status` is what it answers."""

    url: str = ""
    status: int = 200
    posts: queue.Queue[Post] = field(default_factory=queue.Queue)
    hold: threading.Event = field(default_factory=threading.Event)  # cleared: no answer

    def next(self, seconds: float = 10) -> Post:
        """Wait for one request."""
        return self.posts.get(timeout=seconds)


@contextmanager
def hook() -> Iterator[Hook]:
    """Serve on a port of this host."""
    receiver = Hook()
    receiver.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.posts.put(Post(self.path, dict(self.headers), content))
            receiver.hold.wait(60)
            self.send_response(receiver.status)
            if receiver.status == 302:
                self.send_header("Location", receiver.url + "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield receiver
    receiver.hold.set()
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class PostOffice:
    """A mail server."""

    url: str = ""
    mails: queue.Queue[Message] = field(default_factory=queue.Queue)
    logins: list[str] = field(default_factory=list)

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep a mail, and say whether its sender had proved who it is."""
        mail = message_from_bytes(envelope.content)
        mail["X-Authenticated"] = str(session.authenticated)
        mail["X-Encrypted"] = session.ssl["cipher"][1] if session.ssl else "no"
        self.mails.put(mail)
        return "250 OK"


@contextmanager
def post_office(user: str = "", password: str = "", **options: Any) -> Iterator[PostOffice]:
    """Serve mail on a port of this host; with a user, only to that one. Options are those of the controller."""
    office = PostOffice()

    def may_enter(_server: Any, _session: Any, _envelope: Any, _mechanism: str, login: Any) -> AuthResult:
        office.logins.append(login.login.decode())
        return AuthResult(success=(login.login, login.password) == (user.encode(), password.encode()))

    wanted: dict[str, Any] = {"authenticator": may_enter, "auth_require_tls": False} if user else {}
    wanted |= options
    with socket.create_server(("127.0.0.1", 0)) as free:  # the controller would not find a port of the system's choice
        port = free.getsockname()[1]
    controller = Controller(office, hostname="127.0.0.1", port=port, **wanted)
    controller.start()
    office.url = f"smtp://{f'{user}:{password}@' if user else ''}127.0.0.1:{port}"
    yield office
    controller.stop()
