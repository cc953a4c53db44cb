"""Opens the files that targets need at start and whenever the configuration changes, and logs what is wrong with them.

A target whose key or trust is missing is said and fails alone; what is right goes on (`docs/adr/0049`). Each thing is
said once, and once more when it is mended.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from vaultmesh.domain.target import Target
from vaultmesh.domain.targets_config import CommonSettings
from vaultmesh.process.config_files import AnchorsFile

_LOG = logging.getLogger(__name__)


class Readiness:
    """What was said of each target so far."""

    def __init__(self, root: Path) -> None:
        """Look below a root; nothing was said yet."""
        self._root = root
        self._problems: dict[Target, tuple[str, ...]] = {}
        self._warnings: dict[Target, tuple[str, ...]] = {}

    def look(self, anchors: AnchorsFile, models: Mapping[Target, type[CommonSettings]]) -> None:
        """Open the files of these targets, whose settings are known to be right. Blocks."""
        for target, model in models.items():
            opened = anchors.settings(target, model).opened_files(self._root)
            exposed = (*anchors.written_secrets(target, model), *opened.warnings)
            self._tell_problems(target, opened.problems)
            if exposed != self._warnings.get(target, ()):
                for line in exposed:
                    _LOG.warning("secret is exposed", extra={"target": str(target), "detail": line})
            self._warnings[target] = exposed

    def _tell_problems(self, target: Target, problems: tuple[str, ...]) -> None:
        before = self._problems.get(target, ())
        self._problems[target] = problems
        if problems == before:
            return
        for line in problems:
            _LOG.error("target not ready", extra={"target": str(target), "detail": line})
        if not problems:
            _LOG.info("target ready again", extra={"target": str(target)})
