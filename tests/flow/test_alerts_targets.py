"""What is sent to whom: a real HTTP server, a real mail server, a real program; and no secret in any error."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import ssl
import stat
import sys
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import trustme
from command_line import until
from receivers import Hook, hook, post_office

from pgq.alerts import command, mail, webhook
from pgq.alerts.note import Alert, DeliveryError, Note, body
from pgq.errors import InvalidOption, PgqError

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ALERT = Alert(7, "jobs", "2 dead letters: “ünicode”", WHEN, None)
NOTE = Note(str(uuid.uuid4()), "dead-letters", "ops", body("dead-letters", [ALERT]))
SECRET = "s3cr3t-pAssw0rd"  # noqa: S105 - it opens nothing


@pytest.fixture
def ops() -> Iterator[Hook]:
    with hook() as receiver:
        yield receiver


def failure(kind: Any, settings: dict[str, Any]) -> str:
    with pytest.raises(PgqError) as failed:
        kind.send(settings, NOTE)
    assert SECRET not in str(failed.value)
    assert failed.value.__cause__ is None
    return str(failed.value)


def test_a_webhook_gets_json_with_the_key_of_the_note_and_a_signature(
    ops: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setenv("HOOK_AUTH", f"Bearer {SECRET}")
    settings = {"url": f"{ops.url}/a?b=c", "secret": "HOOK_SECRET", "headers": {"Authorization": "HOOK_AUTH"}}
    webhook.send(settings, NOTE)
    post = ops.next()
    assert post.path == "/a?b=c"
    assert post.document == {
        "id": NOTE.id,
        "target": "ops",
        "rule": "dead-letters",
        "summary": "1 firing",
        "text": "pgq alert dead-letters: 1 firing\nFIRING 2 dead letters: “ünicode”",
        "firing": [{"key": "jobs", "message": "2 dead letters: “ünicode”", "since": "2026-01-02T03:04:05+00:00"}],
        "recovered": [],
    }
    assert post.headers["Idempotency-Key"] == NOTE.id
    assert post.headers["Authorization"] == f"Bearer {SECRET}"
    signature = hmac.new(SECRET.encode(), post.content, hashlib.sha256).hexdigest()
    assert post.headers["X-Pgq-Signature"] == f"sha256={signature}"


def test_the_url_may_be_a_secret_itself(ops: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_URL", f"{ops.url}/{SECRET}")
    webhook.send({"url": "env:CHAT_URL"}, NOTE)
    assert ops.next().path == f"/{SECRET}"
    ops.status = 500
    assert failure(webhook, {"url": "env:CHAT_URL"}) == "webhook ops: answered 500"
    monkeypatch.setenv("CHAT_URL", f"http://user:{SECRET}@127.0.0.1/")
    assert "must hold no password" in failure(webhook, {"url": "env:CHAT_URL"})
    monkeypatch.delenv("CHAT_URL")
    assert failure(webhook, {"url": "env:CHAT_URL"}) == "the environment variable CHAT_URL is not set on this worker"


@pytest.mark.parametrize("status", [301, 302, 400, 404, 429, 500, 503])
def test_anything_but_success_is_a_failure_and_a_redirect_is_not_followed(ops: Hook, status: int) -> None:
    ops.status = status
    assert failure(webhook, {"url": f"{ops.url}/{SECRET}"}) == f"webhook ops: answered {status}"
    assert ops.next().path == f"/{SECRET}"
    assert ops.posts.empty()


def test_a_server_that_is_away_or_mute_is_a_failure_that_names_the_target_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/{SECRET}"
        assert failure(webhook, {"url": url}) == "webhook ops: no answer within 0.2 s"
        assert failure(webhook, {"url": url.replace("http", "https")}).startswith("webhook ops: ")
    assert failure(webhook, {"url": url}) == "webhook ops: Connection refused"
    assert failure(webhook, {"url": f"http://no-such-host.invalid/{SECRET}"}).startswith("webhook ops: ")


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "0.0.0.0", "224.0.0.1", "2852039166"],  # noqa: S104
)
def test_link_local_addresses_are_refused_however_they_are_written(host: str) -> None:
    said = failure(webhook, {"url": f"http://{host}/latest/meta-data/{SECRET}"})
    assert said == "webhook ops: its host has a link-local address, which is refused"


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "ftp://host/", "file:///etc/passwd", "http://", "http:///path", "http://h:0/", "http://h:99999/",
        "http://h/ a", "http://h/\r\nX: y", "gopher://h", f"https://user:{SECRET}@host/", f"https://{SECRET}@host/",
    ],
)  # fmt: skip
def test_what_is_no_url_of_a_webhook_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        webhook.check({"url": url})
    assert SECRET not in str(refused.value)


def test_a_webhook_is_shown_without_its_path() -> None:
    assert webhook.shown({"url": f"https://hooks.example.org/{SECRET}"}) == "https://hooks.example.org/…"
    assert webhook.shown({"url": "env:CHAT_URL"}) == "env:CHAT_URL"


@pytest.mark.parametrize("variable", ["PGQ_DSN", "DATABASE_URL", "PGQ_REDIS_URL"])
def test_the_workers_own_secrets_are_sent_to_nobody(ops: Hook, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, SECRET)
    assert failure(webhook, {"url": ops.url, "headers": {"X": variable}}).startswith(f"{variable} is the worker's own")
    assert ops.posts.empty()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a program that writes down its arguments, its environment and its input, and ends as it is told."""
    path = tmp_path / "page"
    path.write_text(
        f"#!{sys.executable}\nimport json, os, sys, time\n"
        "place = sys.argv[1]\n"
        "said = {'argv': sys.argv[1:], 'env': dict(os.environ), 'note': json.load(sys.stdin)}\n"
        "open(place, 'w').write(json.dumps(said))\n"
        "if 'hang' in sys.argv: time.sleep(600)\n"
        "sys.exit(3 if 'fail' in sys.argv else 0)\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PGQ_ALERT_COMMANDS", f"/usr/bin/other:{path}")
    return path


def test_a_command_gets_the_note_on_its_input_and_no_secret_of_the_worker(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGQ_DSN", SECRET)
    place = tmp_path / "said"
    command.send({"argv": [str(program), str(place), "$(id)", "; id"]}, NOTE)
    said = json.loads(place.read_text())
    assert said["argv"] == [str(place), "$(id)", "; id"]
    assert said["note"] == NOTE.document
    assert said["env"]["PGQ_ALERT_ID"] == NOTE.id
    assert SECRET not in said["env"].values()


def test_a_command_that_fails_hangs_or_is_not_there_is_a_failure(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "said"
    assert failure(command, {"argv": [str(program), str(place), "fail", SECRET]}) == "command ops: ended with 3"
    monkeypatch.setattr(command, "PATIENCE", 1.0)
    place.unlink()
    began = monotonic()
    assert "not done within 1 s" in failure(command, {"argv": [str(program), str(place), "hang"]})
    assert monotonic() - began < 10
    monkeypatch.setenv("PGQ_ALERT_COMMANDS", "/no/such")
    assert failure(command, {"argv": ["/no/such"]}) == "command ops: /no/such: No such file or directory"


def test_a_worker_runs_only_the_programs_that_its_environment_allows(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "said"
    for allowed in ("", "/usr/bin/other", f"{program}x"):
        monkeypatch.setenv("PGQ_ALERT_COMMANDS", allowed)
        said = failure(command, {"argv": [str(program), str(place)]})
        assert said == f"command ops: {program} is not in PGQ_ALERT_COMMANDS of this worker"
    assert not place.exists()


@pytest.mark.parametrize("argv", ["ls", [], [1], ["ls"], ["./ls"], ["/bin/ls", "a\0b"], {"a": 1}, None])
def test_what_is_no_command_is_refused(argv: Any) -> None:
    with pytest.raises(InvalidOption, match="a command must"):
        command.check({"argv": argv})


MAIL = {"to": ["ops@example.org", "boss@example.org"], "from": "pgq@example.org"}


@pytest.mark.parametrize("user", ["", "ops%40pgq"])
def test_a_mail_arrives_and_carries_the_key_of_the_note(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with post_office(user.replace("%40", "@"), SECRET) as office:
        url = office.url.replace("ops@pgq", user)
        monkeypatch.setenv("PGQ_SMTP_URL", url)
        mail.send(MAIL, NOTE)
        got = office.mails.get(timeout=5)
    assert (got["From"], got["To"]) == ("pgq@example.org", "ops@example.org, boss@example.org")
    assert got["Subject"] == "[pgq] dead-letters: 1 firing"
    assert got["Message-ID"] == f"<{NOTE.id}@pgq>"
    assert got["Auto-Submitted"] == "auto-generated"
    assert (got["X-Authenticated"] == "True") is bool(user)
    assert "FIRING 2 dead letters: “ünicode”" in got.get_payload(decode=True).decode()


def test_a_mail_that_cannot_be_sent_is_a_failure_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with post_office("ops", "another") as office:
        monkeypatch.setenv("PGQ_SMTP_URL", office.url.replace("another", SECRET))
        said = failure(mail, MAIL)  # the server says no, or hangs up on a wrong password
        assert said in {"mail ops: the server answered 535", "mail ops: SMTPServerDisconnected"}
        monkeypatch.setenv("PGQ_SMTP_URL", office.url.replace("smtp://", "smtp+starttls://"))
        assert failure(mail, MAIL) == "mail ops: SMTPNotSupportedError"
        gone = office.url.replace("another", SECRET)
    monkeypatch.setenv("PGQ_SMTP_URL", gone)
    assert failure(mail, MAIL) == "mail ops: Connection refused"
    for url in ("", SECRET, f"http://{SECRET}@h", f"smtp://{SECRET}:99999"):
        monkeypatch.setenv("PGQ_SMTP_URL", url)
        assert "PGQ_SMTP_URL" in failure(mail, MAIL)


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> trustme.CA:
    """Return an authority whose certificates this process trusts, and no others."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    return made


def certified(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    """Return what a server of that name needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


STARTTLS: Mapping[str, Any] = {"auth_require_tls": True, "require_starttls": True}


def test_a_mail_arrives_over_starttls_where_the_certificate_is_good(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    with post_office("ops", SECRET, tls_context=certified(authority), **STARTTLS) as office:
        monkeypatch.setenv("PGQ_SMTP_URL", office.url.replace("smtp://", "smtp+starttls://"))
        mail.send(MAIL, NOTE)
        got = office.mails.get(timeout=5)
        assert office.logins == ["ops"]
        assert got["X-Encrypted"].startswith("TLSv1.")
        monkeypatch.setenv("PGQ_SMTP_URL", office.url)  # without it, the server takes nothing
        assert failure(mail, MAIL) == "mail ops: SMTPNotSupportedError"
        assert office.mails.empty()


@pytest.mark.parametrize("wrong", ["another authority", "another name"])
def test_over_starttls_a_certificate_that_is_not_good_is_told_nothing(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    issuer = trustme.CA() if wrong == "another authority" else authority
    context = certified(issuer, "127.0.0.1" if wrong == "another authority" else "mail.example.org")
    with post_office("ops", SECRET, tls_context=context, **STARTTLS) as office:
        monkeypatch.setenv("PGQ_SMTP_URL", office.url.replace("smtp://", "smtp+starttls://"))
        assert "ertificate" in failure(mail, MAIL)
        assert office.mails.empty()
        assert office.logins == []


@pytest.mark.parametrize("address", ["", "ops", "a@b\r\nBcc: c@d", "a@b, c@d", "@", "ä@example.org"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidOption, match="a mail address must look like"):
        mail.check({"to": [address], "from": "pgq@example.org"})


def test_a_command_that_hangs_is_killed_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page"
    path.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {tmp_path}/pid\nwait\n")
    path.chmod(0o700)
    monkeypatch.setenv("PGQ_ALERT_COMMANDS", str(path))
    monkeypatch.setattr(command, "PATIENCE", 1.0)
    with pytest.raises(DeliveryError):
        command.send({"argv": [str(path)]}, NOTE)
    pid = int((tmp_path / "pid").read_text())

    def gone() -> bool:
        place = Path(f"/proc/{pid}/stat")
        return not place.exists() or place.read_text().rsplit(")", 1)[1].split()[0] == "Z"

    until(gone)
