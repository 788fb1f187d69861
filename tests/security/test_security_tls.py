"""The way to both servers through TLS: a worker and commands come in by a CA of the test's own, and by no other."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import which

import psycopg
import pytest
from command_line import invoke, succeed
from people import PASSWORD, logins
from psycopg.conninfo import make_conninfo
from serving import serving, until_status
from valkeys import Server

import pgq
from pgq import embedded, migrate
from pgq.embedded.account import Account
from pgq.errors import EmbeddedError

sys.path.append(str(Path(__file__).parents[1] / "limit"))
HOST = "127.0.0.53"  # an address of our own: the port of embedded servers is 5432


@dataclass(frozen=True)
class Papers:
    """A CA, and what it signed for HOST; another CA that signed nothing."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def other(self) -> Path:
        return self.folder / "other.pem"


def openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def papers() -> Iterator[Papers]:
    if not which("openssl"):
        pytest.skip("no openssl to make certificates with")
    folder = Path(tempfile.mkdtemp(prefix="pgq-tls-", dir="/tmp"))
    folder.chmod(0o755)
    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-subj", f"/CN=pgq tests {name}",
                "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", folder / f"{name}.key",
                "-out", folder / f"{name}.pem")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=pgq", "-keyout", folder / "server.key",
            "-out", folder / "server.csr")  # fmt: skip
    (folder / "san").write_text(f"subjectAltName=IP:{HOST}\n")
    openssl("x509", "-req", "-in", folder / "server.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
            "-days", 2, "-extfile", folder / "san", "-out", folder / "server.pem")  # fmt: skip
    (folder / "server.key").chmod(0o600)
    yield Papers(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def secure(papers: Papers) -> Iterator[str]:
    """The DSN of a login of a Postgres that speaks TLS at HOST, its certificate checked."""
    key, certificate = papers.folder / "server.key", papers.folder / "server.pem"
    Account.current().give(key)
    settings = {
        "ssl": True,
        "ssl_key_file": key,
        "ssl_cert_file": certificate,
        "listen_addresses": HOST,
        "fsync": "off",
    }
    with speaking_tls(settings) as servers:
        with psycopg.connect(servers.dsn, autocommit=True) as conn:
            migrate.migrate(conn)
        with logins(servers.dsn, "pgq_admin", "pgq_worker") as names:
            with psycopg.connect(servers.dsn, autocommit=True) as conn:
                conn.execute(f"grant pgq_admin to {names['pgq_worker']}")
            yield make_conninfo(
                host=HOST, port=5432, dbname="postgres", user=names["pgq_worker"], password=PASSWORD,
                sslmode="verify-full", sslrootcert=str(papers.ca),
            )  # fmt: skip


@contextmanager
def speaking_tls(settings: dict[str, object]) -> Iterator[embedded.Servers]:
    """Run the first Postgres that was built with TLS: the embedded one is not, Debian's is."""
    for programs in (None, *sorted(Path("/usr/lib/postgresql").glob("*/bin"))):
        with ExitStack() as stack:
            try:
                servers = stack.enter_context(embedded.temporary(settings=settings, bin_dir=programs))
            except EmbeddedError as error:
                if "SSL is not supported" not in str(error):
                    raise
                continue
            yield servers
            return
    pytest.skip("no Postgres here was built with TLS")


async def test_a_worker_and_commands_work_through_tls_alone(
    secure: str, papers: Papers, tmp_path: Path, config: pgq.Config
) -> None:
    from lossy_proxy import Proxy  # noqa: PLC0415 - of another folder

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(papers.folder / "server.pem", papers.folder / "server.key")
    app = pgq.App()
    ran: list[str] = []

    @app.queue("jobs", concurrency=2, rate_limit=pgq.Rate(100, per=1)).task
    async def work(word: str) -> None:
        ran.append(word)

    valkey = Server(tmp_path).start()
    try:
        with Proxy(valkey.port, context) as proxy:
            url = f"rediss://127.0.0.1:{proxy.port}?ssl_ca_certs={papers.ca}&ssl_check_hostname=false"
            async with await psycopg.AsyncConnection.connect(secure, autocommit=True) as conn:
                await app.adeclare(conn)
                task = await work.aenqueue(conn, "by TLS")
                async with serving(app, replace(config, dsn=secure, redis_url=url)):
                    await until_status(conn, task, "completed")
                    clear = await conn.execute(
                        "select count(*) filter (where not ssl), count(*) > 4 from pg_stat_ssl"
                        " inner join pg_stat_activity using (pid) where usename = current_user"
                    )
                    assert await clear.fetchone() == (0, True)
            assert ran == ["by TLS"]
            assert "jobs" in succeed("stats", "--dsn", secure)
            assert "redis rights" in invoke("doctor", "--dsn", secure, env={"PGQ_REDIS_URL": url}).output
            stranger = url.replace(str(papers.ca), str(papers.other))
            refused = invoke("doctor", "--dsn", secure, env={"PGQ_REDIS_URL": stranger}).output
            assert "certificate verify failed" in refused
    finally:
        valkey.kill()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"sslrootcert": "other"}, "certificate verify failed"),
        ({"host": "localhost", "hostaddr": HOST}, "does not match"),
    ],
)
def test_a_server_that_cannot_prove_who_it_is_gets_no_password(
    secure: str, papers: Papers, change: dict[str, str], complaint: str
) -> None:
    change = {name: str(papers.other) if value == "other" else value for name, value in change.items()}
    result = invoke("stats", "--dsn", make_conninfo(secure, **change))
    assert result.exit_code == 1
    assert result.stderr.startswith("pgq: cannot connect: ")
    assert complaint in result.stderr
    assert PASSWORD not in result.stderr
