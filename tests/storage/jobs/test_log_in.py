"""A log-in that is refused is told at once, with its mend; a server that is away is waited for."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from activities.jobs.roles import JobParts
from devnet.ports import LOOPBACK, free_port
from devnet.postgres import PostgresServer
from tests.cli.conftest import Command, run  # noqa: F401 - a fixture
from tests.storage.jobs.places import NOON, SERVICE, definition
from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.domain.jobs.refusals import StoreError, StoreErrorKind
from vaultmesh.domain.log_in import refused_log_in
from vaultmesh.storage.job_store import JobStore

PASSWORD, WRONG = "the-right-password", "hunter2-is-wrong"
RULES = """
host all guarded 127.0.0.1/32 scram-sha-256
host all shut_out 127.0.0.1/32 reject
host jobs elsewhere 127.0.0.1/32 trust
host all postgres,nobody_here,no_log_in,unwelcome 127.0.0.1/32 trust
"""
ROLES = f"""
CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE shut_out LOGIN; CREATE ROLE elsewhere LOGIN; CREATE ROLE no_log_in;
CREATE ROLE unwelcome LOGIN; REVOKE CONNECT ON DATABASE jobs FROM public; GRANT CONNECT ON DATABASE jobs TO guarded;
GRANT ALL ON SCHEMA public TO guarded
"""


@pytest.fixture(scope="module")
def strict() -> Iterator[PostgresServer]:
    """A server that asks for a password, and lets not everybody in."""
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "rules"
        rules.write_text(RULES)
        for path in (rules.parent, rules):
            path.chmod(0o755)  # whoever runs the server reads it
        with PostgresServer({"hba_file": str(rules)}) as server:
            server.create("jobs")
            server.sql("jobs", ROLES)
            yield server


REFUSED = [
    ((f"guarded:{WRONG}", "jobs"), "password authentication failed", "correct user and password"),
    (("guarded", "jobs"), "no password supplied", "write user and password"),
    (("nobody_here", "jobs"), 'role "nobody_here" does not exist', "correct the user"),
    (("no_log_in", "jobs"), "is not permitted to log in", "correct the user"),
    ((f"guarded:{PASSWORD}", "jbos"), 'database "jbos" does not exist', "correct the database's name"),
    (("shut_out", "jobs"), "pg_hba.conf rejects", "let its pg_hba.conf admit"),
    (("elsewhere", "postgres"), "no pg_hba.conf entry", "let its pg_hba.conf admit"),
    (("unwelcome", "jobs"), "permission denied for database", "GRANT CONNECT"),
    ((f"guarded:{PASSWORD}", "jobs?sslmode=require"), "does not support SSL", "correct sslmode"),
]  # fmt: skip


@pytest.mark.parametrize(("user_and_database", "why", "mend"), REFUSED)
async def test_a_refused_log_in_is_bad_configuration_with_its_mend(
    user_and_database: tuple[str, str], why: str, mend: str, strict: PostgresServer, tmp_path: Path
) -> None:
    user, database = user_and_database
    with pytest.raises(StoreError) as refused:
        await JobStore.open(strict.url(database, user), tmp_path)
    assert refused.value.kind is StoreErrorKind.SETTING
    message = str(refused.value)
    assert why in message
    assert f"{mend}" in message.partition(why)[2]
    assert "JOBS_DATABASE_URL" in message
    assert "\n" not in message
    assert WRONG not in message
    assert PASSWORD not in message


def test_commands_and_workers_take_it_for_bad_configuration(
    run: Command,  # noqa: F811
    strict: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VMSH_ROOT", str(tmp_path))
    monkeypatch.setenv("JOBS_DATABASE_URL", strict.url("jobs", f"guarded:{WRONG}"))
    listed = run("jobs", "list")
    assert (listed.code, listed.out, listed.err.count("\n")) == (2, "", 1)
    assert "correct user and password in JOBS_DATABASE_URL" in listed.err
    with pytest.raises(ConfigurationError, match="correct user and password") as refused:
        asyncio.run(JobParts.open(tmp_path, ["jobs"]))
    assert WRONG not in str(refused.value)


async def test_a_password_that_changes_while_a_worker_runs_loses_no_end_of_a_run(
    strict: PostgresServer, tmp_path: Path
) -> None:
    store = await JobStore.open(strict.url("jobs", f"guarded:{PASSWORD}"), tmp_path)
    try:
        await store.register(definition(), SERVICE, NOON)
        strict.sql("jobs", "ALTER ROLE guarded PASSWORD 'another'")
        strict.sql(
            "jobs",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'guarded'",
        )
        with pytest.raises(StoreError) as refused:
            await store.list()
        assert refused.value.kind is StoreErrorKind.SETTING
        assert refused.value.may_be_mended
        strict.sql("jobs", f"ALTER ROLE guarded PASSWORD '{PASSWORD}'")
        assert len(await store.list()) == 1
    finally:
        await store.close()


async def test_a_server_that_is_away_is_no_bad_configuration(tmp_path: Path) -> None:
    url = f"postgresql://guarded:{WRONG}@{LOOPBACK}:{free_port()}/jobs"
    store = await JobStore.open(url, tmp_path)
    with pytest.raises(StoreError) as away:
        await store.list()
    assert away.value.may_pass
    await store.close()


@pytest.mark.parametrize(
    "message",
    [
        "FATAL:  the database system is starting up",
        "FATAL:  sorry, too many clients already",
        "FATAL:  server login has been failing, cached error: connect failed (server_login_retry)",
        "FATAL:  terminating connection due to administrator command",
        "connection timeout expired",
        'could not translate host name "db" to address: Temporary failure in name resolution',
    ],
)
def test_what_passes_by_itself_is_no_refused_log_in(message: str) -> None:
    assert refused_log_in(f"connection failed: {message}", "X") is None


@pytest.mark.parametrize(
    "message",
    [
        'invalid sslmode value: "bogus"', 'invalid "ssl_min_protocol_version" value: "TLSv1.9"', 'invalid port number: "99999"',
        "SSL error: certificate verify failed", 'root certificate file "/nope.crt" does not exist',
        'could not load private key file "/k": key values mismatch', 'certificate present, but not private key file "/k"',
        "SSL error: tlsv13 alert certificate required", 'server certificate for "a" does not match host name "b"',
    ],
)  # fmt: skip
def test_trouble_with_tls_is_a_setting_that_no_waiting_mends(message: str) -> None:
    refused = refused_log_in(f"connection failed: {message}\n", "X")
    assert refused is not None
    assert refused.mend.endswith(" in X")


@pytest.mark.parametrize(
    "message",
    [
        "FATAL:  SASL authentication failed", "FATAL:  no such database: jbos", "FATAL:  no such user: vmsh",
        "FATAL:  Tenant or user not found", 'FATAL:  server login has been failing, cached error: password authentication failed for user "x"',
        "FATAL:  bouncer config error: auth failed",
    ],
)  # fmt: skip
def test_poolers_refuse_in_words_of_their_own(message: str) -> None:
    refused = refused_log_in(f"connection failed: connection to server failed: {message}\n", "X")
    assert refused is not None
    assert refused.why == message.removeprefix("FATAL:").strip()
    assert " in X" in refused.mend
