"""Takes the Dockerfile apart: its stages, and what each one does."""

import re
from functools import cache

from tests.k8s.manifests import REPOSITORY

WORKER, MAINTENANCE = "worker", "maintenance"
TEXT = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")


@cache
def stages() -> dict[str, str]:
    """Return the instructions of each stage by its name, those of what it is made from first."""
    parts = re.split(r"^FROM (\S+) AS (\S+)$", TEXT, flags=re.MULTILINE)[1:]
    made: dict[str, str] = {}
    for base, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        made[name] = made.get(base, "") + body
    return made


def bases() -> list[str]:
    """Return the images that stages are made from, those made here left out; a variable stands for its default."""
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)$", TEXT, re.MULTILINE))
    named = re.findall(r"^FROM (\S+) AS \S+$", TEXT, re.MULTILINE)
    plain = [re.sub(r"^\$\{(\w+)\}$", lambda used: defaults[used[1]], name) for name in named]
    return [name for name in plain if name not in stages()]


def copied(stage: str) -> list[str]:
    """Return what a stage copies out of the repository."""
    names: list[str] = []
    for line in re.findall(r"^COPY (.+)$", stages()[stage], re.MULTILINE):
        *sources, _ = line.split()
        names += [source.rstrip("/") for source in sources]
    return names


def locked(name: str) -> dict[str, str]:
    """Return the packages of a lock file with their versions."""
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", text, re.MULTILINE))
