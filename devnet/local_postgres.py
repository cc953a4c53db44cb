"""Runs PostgreSQL as a part of a local system: with a password, and with its data in the system's folder.

1. The password is made once for a folder and lies in it, so that a URL stays valid. It is on no command line.
2. PostgreSQL refuses to run as root: there it runs as `nobody`, who need not be able to reach the system's folder. A shell
   opens the data folder before it gives up its rights, and PostgreSQL reaches it through that descriptor.
3. Data is whole or not there at all: it is made beside its place and moved there.
4. It survives a killed process and no power cut, as all that this system writes.
"""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from typing_extensions import override

from devnet.errors import PartError
from devnet.ports import LOOPBACK, free_port, require_free
from devnet.postgres import (
    COPY_PREFIX,
    POSTGRES,
    hand_over,
    is_readable,
    is_root,
    libraries,
    readable,
    readable_folder,
    unprivileged,
)
from devnet.process import Part

DATABASE = "sample"
USER = "vmsh"
_OPEN_DATA = 'exec 9<"$1"; shift; exec "$@"'
_OPEN_BOTH = 'exec 9<"$1" 8<"$2"; shift 2; exec "$@"'
_DATA, _SECRET = "/proc/self/fd/9", "/proc/self/fd/8"
_MAKE_SECONDS = 60
_CONNECT_SECONDS = 2
_OWNER_ONLY = 0o600


class LocalPostgres(Part):
    """The server; `prepare` has its programs and data ready before the first launch."""

    def __init__(self, folder: Path, *, port: int = 0, home: Path | None = None) -> None:
        """Choose a port (0: a free one).

        Args:
            folder: gets the log, `logs/postgres.log`.
            port: where it answers.
            home: keeps data and password; `<folder>/postgres` by default.
        """
        self.port = port or free_port()
        self._home = home or folder / "postgres"
        self.data = self._home / "data"
        self._password_file = self._home / "password"
        self._copied = self._home / "programs"
        self._programs = Path()
        super().__init__("postgres", [], folder / "logs" / "postgres.log", self._is_prepared)
        self.stop_signal = signal.SIGINT  # SIGTERM would wait until every client has left
        self.folder = Path("/")

    def prepare(self) -> None:
        """Have programs, password and data, made where they are missing; takes a second, on any thread.

        Raises:
            PartError: the programs can't be had, or the data can't be made.
        """
        self._home.mkdir(parents=True, exist_ok=True)
        self._programs = self._readable_programs()
        self.environment = libraries(self._programs)
        if not self._password_file.exists():
            self._make_password()
        if not self.data.exists():
            self._make_data()
        self.command = self._with_data(self.data, "postgres", *self._options())

    @property
    def url(self) -> str:
        """URL of the sample database, with its password."""
        return self._url(DATABASE)

    @property
    def address(self) -> str:
        """The same without the password, for people to read."""
        return f"postgresql://{LOOPBACK}:{self.port}/{DATABASE}"

    @override
    def launch(self) -> None:
        require_free(self.port, self.name)
        super().launch()

    @override
    def stop(self) -> None:
        super().stop()
        self._remove_copy()

    def _url(self, database: str) -> str:
        password = self._password_file.read_text(encoding="ascii").strip()
        return f"postgresql://{USER}:{password}@{LOOPBACK}:{self.port}/{database}"

    def _is_prepared(self) -> bool:
        """Whether it answers and has the sample database."""
        import psycopg  # noqa: PLC0415 - loaded while it starts

        try:
            with psycopg.connect(
                self._url("postgres"), autocommit=True, connect_timeout=_CONNECT_SECONDS
            ) as connection:
                known = "SELECT 1 FROM pg_database WHERE datname = %s"
                if connection.execute(known, (DATABASE,)).fetchone() is None:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.Error:
            return False
        return True

    # --- what it needs -------------------------------------------------------------------------

    def _readable_programs(self) -> Path:
        """Return the folder of the programs; a copy where whoever runs them can't read the cache."""
        program = POSTGRES.obtain()
        if is_readable(program):
            return program.resolve().parent
        self._remove_copy()
        folder = readable_folder()
        self._copied.write_text(str(folder))
        return readable(program, folder)

    def _remove_copy(self) -> None:
        """Remove the copy of the programs, also one that an earlier system left when it was killed."""
        if not self._copied.exists():
            return
        folder = Path(self._copied.read_text())
        if folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith(COPY_PREFIX):
            shutil.rmtree(folder, ignore_errors=True)
        self._copied.unlink()

    def _make_password(self) -> None:
        fresh = self._home / ".password.new"
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(secrets.token_hex(16))
        hand_over(fresh)
        fresh.replace(self._password_file)

    def _make_data(self) -> None:
        fresh = self._home / ".data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        hand_over(fresh)
        options = ["-A", "scram-sha-256", "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync"]
        made = subprocess.run(
            self._with_data(fresh, "initdb", *options),
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_MAKE_SECONDS,
        )
        if made.returncode:
            message = f"initdb failed: {' / '.join(made.stderr.strip().splitlines()[-3:])}"
            raise PartError(message)
        fresh.replace(self.data)

    def _with_data(self, data: Path, program: str, *options: str) -> list[str]:
        """Return the command that runs a program on a data folder; initdb reads the password from its file."""
        command = [str(self._programs / program), *options, "-D"]
        password = str(self._password_file)
        if not is_root():
            needs_password = [f"--pwfile={password}"] if program == "initdb" else []
            return [*command, str(data), *needs_password]
        command = [*unprivileged(), *command, _DATA]
        if program != "initdb":
            return ["/bin/sh", "-c", _OPEN_DATA, "sh", str(data), *command]
        opened = ["/bin/sh", "-c", _OPEN_BOTH, "sh", str(data), password]
        return [*opened, *command, f"--pwfile={_SECRET}"]

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "40",
            "shared_buffers": "32MB",
        }
        return [f"--{name}={value}" for name, value in settings.items()]
