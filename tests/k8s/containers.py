"""Builds the images as operators do, and runs a program in one as a container does: nobody special, and with nothing to write on.

1. `buildah` needs no daemon: its files lie in a folder of ours, and what a build runs is run below a changed root. Where the kernel lays
   folders over each other, layers are mounted; elsewhere each is a copy of the whole, which takes longer.
2. In place of the official base, which no package registry has, stands one made of Debian's packages; packages come from a folder.
3. A container is a process with mounts of its own, over the files of the image, which are mounted read-only.
"""

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devnet.buildah import buildah
from devnet.image_base import IMAGE_BASE, IMAGE_PACKAGES
from tests.k8s.manifests import REPOSITORY

USER = 10001
_BASE = "localhost/base:test"
_BUILD_SECONDS = 1800
_DRIVERS = ("overlay", "vfs")
_PIP = "[global]\nno-index = true\nfind-links = /wheels\n"
_HOSTS = ("/proc", "/dev", "/etc/resolv.conf")
"""What every container has of its host."""


@dataclass(frozen=True)
class Mount:
    """A folder of the host, or memory, at a place of the container."""

    target: str
    source: Path | None = None
    """None: memory."""
    read_only: bool = False


@dataclass(frozen=True)
class Image:
    """A built image: its files, and what it says about itself."""

    name: str
    root: Path
    config: Mapping[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in self.config["Env"])

    @property
    def command(self) -> list[str]:
        """What runs unless something else is asked for."""
        return [*self.config["Entrypoint"], *(self.config.get("Cmd") or [])]

    def files(self, place: str) -> list[Path]:
        """Return every file and folder below a place, as paths in the container."""
        below = (self.root / place.lstrip("/")).rglob("*")
        return ["/" / path.relative_to(self.root) for path in below]


@dataclass(frozen=True)
class Container:
    """How programs run in an image."""

    image: Image
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()

    def command_line(self, arguments: Sequence[str]) -> list[str]:
        """Return what runs a program in it; a signal reaches that program itself."""
        variables = {**self.image.environment, **self.environment}
        settings = [f"{name}={value}" for name, value in variables.items()]
        return ["env", "-i", *settings, "unshare", "--mount", "sh", "-c", self._script(arguments)]

    def run(self, *arguments: str, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            self.command_line(arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )

    def _script(self, arguments: Sequence[str]) -> str:
        root = shlex.quote(str(self.image.root))
        lines = ["set -e", f"mount --bind {root} {root}", f"mount -o remount,bind,ro {root}"]
        lines += [f"mount --rbind {place} {root}{place}" for place in _HOSTS]
        for mount in self.mounts:
            lines += self._mounted(mount)
        inside = 'cd "$0" && exec "$@"'
        words = [self.image.config["WorkingDir"], *arguments]
        user = f"--userspec={USER}:{USER} --groups={USER}"
        quoted = " ".join(map(shlex.quote, ("sh", "-c", inside, *words)))
        return "\n".join([*lines, f"exec setpriv --no-new-privs chroot {user} {root} {quoted}"])

    def _mounted(self, mount: Mount) -> list[str]:
        place = self.image.root / mount.target.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)  # as a runtime makes it, before anything runs
        target = shlex.quote(str(place))
        if mount.source is None:
            return [f"mount -t tmpfs -o size=64m,mode=1777 tmpfs {target}"]
        bound = [f"mount --bind {shlex.quote(str(mount.source))} {target}"]
        return [*bound, f"mount -o remount,bind,ro {target}"] if mount.read_only else bound


class Builder:
    """A store of images in a folder."""

    def __init__(self, folder: Path, driver: str) -> None:
        """Make the base in it."""
        self._folder = folder
        places = ["--root", str(folder / "store"), "--runroot", str(folder / "run")]
        self.program = [str(buildah()), *places, "--storage-driver", driver]
        container = self._run([*self.program, "from", "scratch"]).strip()
        self._run([*self.program, "add", container, str(IMAGE_BASE.obtain()), "/"])
        self._run([*self.program, "commit", "--rm", "--disable-compression", container, _BASE])

    def make_images(self) -> None:
        """Do `make image` for both."""
        (self._folder / "pip.conf").write_text(_PIP)
        mounted = {IMAGE_PACKAGES.obtain(): "/wheels", self._folder / "pip.conf": "/etc/pip.conf"}
        volumes = [f"--volume={source}:{target}:ro" for source, target in mounted.items()]
        options = ["--isolation=chroot", "--format=docker", f"--build-arg=BASE={_BASE}", *volumes]
        self._run(
            ["make", "image", f"BUILDER={shlex.join(self.program)}", f"BUILD_OPTIONS={shlex.join(options)}"]
        )  # fmt: skip

    def image(self, name: str) -> Image:
        """Return an image, with its files laid out."""
        said = self._run([*self.program, "inspect", "--type", "image", name])
        container = self._run([*self.program, "from", name]).strip()
        root = Path(self._run([*self.program, "mount", container]).strip())
        return Image(name, root, json.loads(said)["Docker"]["config"])

    def close(self) -> None:
        """Delete it; it is gigabytes."""
        subprocess.run([*self.program, "rm", "--all"], capture_output=True, check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, command: Sequence[str]) -> str:
        done = subprocess.run(
            list(command),
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_SECONDS,
        )
        assert done.returncode == 0, (
            f"{shlex.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        )
        return done.stdout


def _builder(folder: Path) -> Builder:
    for driver in _DRIVERS[:-1]:
        try:
            return Builder(folder / driver, driver)
        except AssertionError:
            shutil.rmtree(folder / driver, ignore_errors=True)
    return Builder(folder / _DRIVERS[-1], _DRIVERS[-1])


@contextmanager
def built(folder: Path, *names: str) -> Iterator[list[Image]]:
    """Return the images of `make image` by their names for a while."""
    builder = _builder(folder)
    try:
        builder.make_images()
        yield [builder.image(name) for name in names]
    finally:
        builder.close()
