"""Takes a page about alerts apart: a section for each, and its commands on a host and in a pod."""

import re
import subprocess
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from devnet.temporal import temporal_cli
from tests.docs.readme import REPOSITORY, commands

PARTS = ("**Meaning.**", "**Impact.**", "**Check.**", "**Mend.**")
IN_CLUSTER = ["kubectl", "-n", "aurora-staging"]


class Runbook:
    """A page, whose commands for a pod are of one Deployment."""

    def __init__(self, page: str, deployment: str) -> None:
        self.path = f"docs/{page}.md"
        self.text = (REPOSITORY / self.path).read_text(encoding="utf-8")
        self.commands = [words for words in commands("", self.text) if words]
        self._pod = [*IN_CLUSTER, "exec", f"deploy/{deployment}", "--"]

    def shown(self, *program: str) -> list[list[str]]:
        """Return the arguments of each command of a program, on a host or in a pod."""
        size, pod = len(program), len(self._pod)
        plain = [words[pod:] if words[:pod] == self._pod else words for words in self.commands]
        return [words[size:] for words in plain if words[:size] == list(program)]

    @cached_property
    def sections(self) -> Mapping[str, str]:
        """What the page says, by heading."""
        parts = re.split(r"^## (.+)$", self.text, flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2], strict=True))

    @property
    def alerts(self) -> list[str]:
        """Names of the alerts that have a section, in order."""
        return [name for name in self.sections if re.fullmatch(r"Scheduler\w+", name)]

    def is_complete(self, name: str) -> bool:
        """Whether an alert's section has its four parts, with commands to check and to mend, in a cluster too."""
        text = self.sections[name]
        check, _, mend = text.partition("**Mend.**")
        has_parts = [part for part in PARTS if part in text] == list(PARTS)
        has_commands = all("```sh\n" in part for part in (check, mend))
        return has_parts and has_commands and f"{' '.join(IN_CLUSTER)} " in text

    def temporal_refuses(self, words: list[str]) -> str:
        """Return why the `temporal` program does not know a command's flags; empty if it does."""
        done = subprocess.run(
            [str(temporal_cli()), *words, "--help"], capture_output=True, timeout=120, check=False
        )
        return done.stderr.decode() if done.returncode else ""


def is_there(path: str) -> bool:
    """Whether a file of the repository is there."""
    return (Path(REPOSITORY) / path).exists()
