"""Where no claim holds the role, the table of users does, as it is at each request; a database that is away admits nobody."""

import asyncio
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from devnet.ports import LOOPBACK, free_port
from tests.api.issuer import USER, Issuer, issuing, sign
from tests.api.running import RunningApi, running, settings
from tests.storage.jobs import conftest
from tests.storage.jobs.places import Place
from tests.support.gate import Gate
from vaultmesh.api.gates import Gates, NotAdmitted
from vaultmesh.domain.jobs.refusals import StoreError
from vaultmesh.storage.job_store import JobStore
from vaultmesh.storage.jobs.core import choose
from vaultmesh.storage.users import Users, users_place

server, postgres, pooler = conftest.server, conftest.postgres, conftest.pooler
ROWS = {
    USER: "'admin'",
    "user_member": "'user'",
    "user_none": "NULL",
    "user_super": "'super_admin'",
    "user_twice": "'admin'), ('user_twice', 'user'",
}
INSERTION = "INSERT INTO users (clerk_user_id, role) VALUES"
TABLE = "CREATE TABLE users (clerk_user_id TEXT, role TEXT, email TEXT);" + "".join(
    f"{INSERTION} ('{user}', {role});" for user, role in ROWS.items()
)
AWAY = "The role of this user can't be looked up now - the log says why; try again later"


@dataclass
class Accounts:
    """A table of users that somebody else keeps."""

    url: str | None
    """USERS_DATABASE_URL; None where it lies beside the jobs."""
    jobs: str | None
    root: Path
    sql: Callable[[str], object]

    def give(self, role: str) -> None:
        """Give the user another role."""
        self.sql(f"UPDATE users SET role = '{role}' WHERE clerk_user_id = '{USER}'")  # noqa: S608 - of a test

    def users(self) -> Users:
        return Users(users_place(self.url, choose(self.jobs, self.root, supabase=False)))


def _sqlite(file: Path) -> Callable[[str], object]:
    def run(statements: str) -> object:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file)) as opened, opened:
            return opened.executescript(statements)

    return run


@pytest.fixture(params=["sqlite", "sqlite beside the jobs", "postgresql", "postgresql beside the jobs", "pooler"])  # fmt: skip
async def accounts(request: pytest.FixtureRequest, tmp_path: Path) -> Accounts:
    kind: str = request.param
    if kind == "sqlite":
        file = tmp_path / "app #1%/users ü.db"
        made = Accounts(f"sqlite:///{file}", None, tmp_path, _sqlite(file))
    elif kind.startswith("sqlite"):
        store = await JobStore.open(None, tmp_path)
        await store.close()
        made = Accounts(None, None, tmp_path, _sqlite(Path(store.place)))
    else:
        place: Place = request.getfixturevalue("postgres")
        url = (
            request.getfixturevalue("pooler").url(place.database) if kind == "pooler" else place.url
        )
        here = kind.endswith("jobs")
        made = Accounts(None if here else url, url if here else None, tmp_path, place.sql)
    made.sql(TABLE)
    return made


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as started:
        yield started


@asynccontextmanager
async def serving(issuer: Issuer, accounts: Accounts) -> AsyncIterator[RunningApi]:
    told = settings(jwt=replace(issuer.settings, role_claim=None), admin_token=None)
    gates = Gates.of(told, accounts.users())
    async with running(accounts.root, told, database=accounts.jobs, gates=gates) as api:
        yield api


async def refusal(api: RunningApi, issuer: Issuer, **changes: Any) -> tuple[int, str]:
    """Return the status, and what is said if it is a refusal."""
    headers = {"Authorization": f"Bearer {sign(issuer.key, **changes)}"}
    answer = await api.ask("GET", "/api/jobs", headers=headers)
    return answer.status, answer.json.get("message", "")


async def test_the_role_of_the_table_opens_and_no_other_does(
    accounts: Accounts, issuer: Issuer
) -> None:
    async with serving(issuer, accounts) as api:
        assert await refusal(api, issuer) == (200, "")
        assert await refusal(api, issuer, sub="user_super") == (200, "")
        for subject in (
            "user_member",
            "user_none",
            "user_nobody",
            "user_twice",
            USER.upper(),
            f"{USER}' OR '1'='1",
            "%",
        ):
            said = await refusal(api, issuer, sub=subject, metadata={"role": "admin"}, role="admin")
            assert said == (403, f"User {subject} is no administrator")


async def test_a_role_that_was_taken_away_opens_nothing_at_the_next_request(
    accounts: Accounts, issuer: Issuer
) -> None:
    async with serving(issuer, accounts) as api:
        assert (await refusal(api, issuer))[0] == 200
        accounts.give("user")
        assert (await refusal(api, issuer))[0] == 403
        accounts.give("super_admin")
        assert (await refusal(api, issuer))[0] == 200
        accounts.sql("DELETE FROM users")
        assert (await refusal(api, issuer))[0] == 403


async def test_somebody_who_was_admitted_a_while_ago_is_refused_once_the_role_is_gone(
    accounts: Accounts, issuer: Issuer
) -> None:
    told = settings(jwt=replace(issuer.settings, role_claim=None))
    gates = Gates.of(told, accounts.users())
    person = await gates.admit(sign(issuer.key))
    assert await gates.readmit(person) == person
    accounts.give("user")
    with pytest.raises(NotAdmitted) as caught:
        await gates.readmit(person)
    assert caught.value.status == 403
    accounts.sql("DROP TABLE users")
    with pytest.raises(NotAdmitted) as caught:
        await gates.readmit(person)
    assert caught.value.status == 503
    await gates.close()


async def test_a_database_without_the_table_is_503_and_its_log_says_why(
    accounts: Accounts, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    accounts.sql("DROP TABLE users")
    async with serving(issuer, accounts) as api:
        assert await refusal(api, issuer) == (503, AWAY)
        accounts.sql(TABLE)
        assert (await refusal(api, issuer))[0] == 200
    (record,) = [line for line in caplog.records if line.getMessage() == "role not looked up"]
    assert str(vars(record)["err"]).startswith("database of users ")
    assert "users" in str(vars(record)["err"]).removeprefix("database of users ")


async def test_a_file_that_is_missing_is_503_and_is_not_made(
    tmp_path: Path, issuer: Issuer
) -> None:
    file = tmp_path / "users.db"
    accounts = Accounts(f"sqlite:///{file}", None, tmp_path, _sqlite(file))
    async with serving(issuer, accounts) as api:
        assert await refusal(api, issuer) == (503, AWAY)
        assert not file.exists()
        accounts.sql(TABLE)
        assert (await refusal(api, issuer))[0] == 200


async def test_a_server_that_is_away_or_lets_nobody_in_is_503_and_tells_a_stranger_nothing_of_it(
    tmp_path: Path, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    password = "a-password-of-tests"
    url = f"postgresql://app:{password}@{LOOPBACK}:{free_port()}/accounts"
    async with serving(issuer, Accounts(url, None, tmp_path, print)) as api:
        assert await refusal(api, issuer) == (503, AWAY)
        assert (await api.ask("GET", "/readyz")).status == 200
    assert password not in caplog.text


async def test_roles_may_be_of_a_type_of_their_own(postgres: Place, issuer: Issuer) -> None:
    postgres.sql(
        "CREATE TYPE user_role AS ENUM ('user', 'admin');"
        "CREATE TABLE users (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), clerk_user_id varchar(64) UNIQUE NOT NULL, role user_role NOT NULL);"
    )
    postgres.sql(f"{INSERTION} ('{USER}', 'admin')")
    async with serving(issuer, Accounts(postgres.url, None, postgres.root, postgres.sql)) as api:
        assert (await refusal(api, issuer))[0] == 200
        postgres.sql("UPDATE users SET role = 'user'")
        assert (await refusal(api, issuer))[0] == 403


async def test_a_server_that_goes_away_is_503_and_admits_again_when_it_is_back(
    postgres: Place, issuer: Issuer
) -> None:
    assert postgres.server is not None
    between = Gate(postgres.server.port)
    url = str(postgres.url).replace(f":{postgres.server.port}/", f":{between.port}/")
    postgres.sql(TABLE)
    between.open()
    async with serving(issuer, Accounts(url, None, postgres.root, postgres.sql)) as api:
        assert (await refusal(api, issuer))[0] == 200
        between.close()
        assert await refusal(api, issuer) == (503, AWAY)
        between.open()
        assert (await refusal(api, issuer))[0] == 200
    between.close()


async def test_a_server_that_hangs_is_503_and_holds_up_nobody_else(
    tmp_path: Path, issuer: Issuer
) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        url = f"postgresql://app@{LOOPBACK}:{silent.getsockname()[1]}/accounts"
        async with serving(issuer, Accounts(url, None, tmp_path, print)) as api:
            waiting = asyncio.create_task(refusal(api, issuer))
            assert (await api.ask("GET", "/readyz")).status == 200
            assert await waiting == (503, AWAY)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "names no file"),
        ("sqlite:///users.db", "names no file"),
        ("sqlite:users.db", "names no file"),
        ("sqlite", "can't be read"),
        ("mysql://app@db/app", "no URL of PostgreSQL"),
        ("postgresql://app:a-secret-word@db:5432", "names no database"),
        ("postgresql://app:a-secret@word@db/app", "@ in its user or password"),
        ("app", "can't be read"),
    ],
)
def test_a_url_of_no_database_is_refused_with_its_mend_and_is_not_repeated(
    url: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(StoreError) as caught:
        users_place(url, choose(None, tmp_path, supabase=False))
    message = str(caught.value)
    assert message.startswith("USERS_DATABASE_URL ")
    assert words in message
    assert " - write " in message
    assert "secret" not in message
