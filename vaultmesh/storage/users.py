"""Looks up the role of a user in the table `users`, which somebody else keeps.

    users = Users(users_place(environment.get("USERS_DATABASE_URL"), jobs))
    role = await users.role("user_2abc")

1. The database is USERS_DATABASE_URL, else that of the jobs: PostgreSQL or a file of SQLite, which is opened for reading alone.
2. Nothing is kept: a role that was taken away is gone at the next look.
3. Looks run in threads of their own and end within `LOOK_SECONDS`: a database that hangs delays nobody else.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import PurePosixPath
from urllib.parse import quote

from sqlalchemy import URL, Column, MetaData, String, Table, make_url, select
from sqlalchemy.exc import ArgumentError

from vaultmesh.domain.jobs.refusals import StoreError, StoreErrorKind
from vaultmesh.storage.jobs.database import THREADS, Database, Place, postgres_place

SETTING = "USERS_DATABASE_URL"
LOOK_SECONDS = 5.0
"""After this, whoever asked is told that the database is away."""
_NAME = "database of users"
_SQLITE = "sqlite:"
USERS = Table("users", MetaData(), Column("clerk_user_id", String), Column("role", String))
"""The columns that are read; there are others."""


def users_place(url: str | None, jobs: Place) -> Place:
    """Return where the users are; `jobs` is where the jobs are, which counts if `url` is empty.

    Raises:
        StoreError: the setting can't be used; says how to mend it, and holds none of it.
    """
    text = (url or "").strip()
    if text.startswith(_SQLITE):
        return _readable(_path_of(text), SETTING)
    if text:
        return replace(postgres_place(text, SETTING), name=_NAME)
    if jobs.is_postgres:
        return replace(jobs, name=_NAME)
    return _readable(str(jobs.url.database), SETTING)


def _path_of(text: str) -> str:
    """Return the file that a URL of SQLite names."""
    try:
        path = make_url(text).database or ""
    except (ArgumentError, ValueError):
        path = ""
    if not PurePosixPath(path).is_absolute():
        message = f"{SETTING} names no file - write sqlite:////folder/file with its whole path, or a URL of PostgreSQL"
        raise StoreError(message, StoreErrorKind.SETTING)
    return path


def _readable(path: str, setting: str) -> Place:
    """Return the place of a file of SQLite that is only read, and never made."""
    query = {"mode": "ro", "uri": "true"}
    url = URL.create("sqlite", database=f"file:{quote(path)}", query=query)
    return Place(url, path, setting=setting, name=_NAME)


class Users:
    """The users that somebody keeps; used by one event loop."""

    def __init__(self, place: Place) -> None:
        """Connect to nothing yet."""
        self._database = Database(place)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="users")

    @property
    def place(self) -> str:
        """Where they are, without user or password; for people."""
        return self._database.place.label

    async def role(self, clerk_user_id: str) -> str | None:
        """Return a user's role; None if there is no such user, none alone, or one without a role.

        Raises:
            StoreError: the database does not answer, or has no such table; says how to mend it.
        """
        loop = asyncio.get_running_loop()
        look = loop.run_in_executor(self._pool, self._role, clerk_user_id)
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await look
        except TimeoutError:
            why = f"no answer within {LOOK_SECONDS:g} s"
            raise self._database.failure(why, StoreErrorKind.DOWN) from None

    def _role(self, clerk_user_id: str) -> str | None:
        query = select(USERS.c.role).where(USERS.c.clerk_user_id == clerk_user_id).limit(2)
        with self._database.read() as connection:
            roles = connection.execute(query).scalars().all()
        return str(roles[0]) if len(roles) == 1 and roles[0] is not None else None

    async def close(self) -> None:
        """Give the connections back; looks under way end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._database.close()
