"""Keeps a process's open targets: one each, opened anew when its configuration changes."""

import asyncio
from pathlib import Path

from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.domain.failures import ValidationFailure
from vaultmesh.domain.tally import Tally
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.driver import Anchoring
from vaultmesh.ledgers.targets import open_target
from vaultmesh.process.config_files import AnchorsFile, AnchorsSource


class Targets:
    """Opened targets of one process."""

    def __init__(self, source: AnchorsSource, root: Path) -> None:
        """Read settings from the anchors file whenever it changed; key files are relative to `root`."""
        self._root = root
        self._source = source
        self._opened: dict[Target, tuple[str, Anchoring]] = {}
        self._opening = asyncio.Lock()

    async def open(self, target: Target) -> Anchoring:
        """Return a target that is ready to be used.

        Raises:
            ValidationFailure: the configuration does not describe it; the message holds every problem.
        """
        async with self._opening:
            version, anchors = await asyncio.to_thread(self._read)
            kept = self._opened.get(target)
            if kept is not None and kept[0] == version:
                return kept[1]
            opened = open_target(target, anchors, self._root)
            self._opened[target] = (version, opened)
        if kept is not None:
            await kept[1].close()
        return opened

    def tallies(self) -> dict[str, Tally]:
        """Return what was counted at each target that is open."""
        return {str(target): opened.tally for target, (_, opened) in list(self._opened.items())}

    def _read(self) -> tuple[str, AnchorsFile]:
        try:
            return self._source.current()
        except ConfigurationError as error:
            raise ValidationFailure(str(error)) from error

    async def close(self) -> None:
        """Close every connection."""
        for _, opened in self._opened.values():
            await opened.close()
        self._opened.clear()
