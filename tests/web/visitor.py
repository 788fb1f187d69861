"""A dashboard that runs, as a stranger or somebody who logged in sees it over plain HTTP."""

from __future__ import annotations

import http.client
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

TOKEN = "a-token-of-the-tests-0123"  # noqa: S105 - opens nothing but tests
HTML = {"Accept": "text/html"}


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass
class Dashboard:
    """A dashboard that runs, as a stranger or with a session sees it."""

    process: subprocess.Popen[str]
    port: int
    cookie: str = ""
    form_token: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, fields: dict[str, str] | None = None, **headers: str) -> Answer:
        """Send one request; header names are given with _ for -."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            sent.setdefault("Cookie", self.cookie)
        body = None
        if fields is not None:
            body = urlencode(fields)
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **{**HTML, **headers})

    def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> Answer:
        """Send a form as a browser on a page of ours would."""
        given = {"form_token": self.form_token, **(fields or {})}
        return self.ask("POST", path, given, **{"Origin": self.url, **HTML, **headers})

    def log_in(self, name: str = "") -> Dashboard:
        """Return the same dashboard, as somebody who logged in sees it."""
        answer = self.post("/login", {"token": TOKEN, "name": name})
        assert answer.status == 303, answer.text
        inside = Dashboard(self.process, self.port, answer.headers["set-cookie"].partition(";")[0])
        inside.form_token = re.search(r'name="form_token" value="([^"]+)"', inside.get("/audit").text)[1]
        return inside

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(20)


Serve = Callable[..., Dashboard]
