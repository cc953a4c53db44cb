"""Applies a change of namespaces.yaml to the running namespaces without a restart."""

import asyncio
import logging
from collections.abc import Collection, Mapping

from temporalio.client import Client
from temporalio.service import RPCError

from vaultmesh.domain.errors import ConfigurationError, DomainError
from vaultmesh.domain.paths import CONFIG_FOLDER
from vaultmesh.process.config_files import load_namespaces, namespaces_path
from vaultmesh.process.registration import Change, NotRegistered, register
from vaultmesh.process.settings import Settings

PERIOD_SECONDS = 10.0
_LOG = logging.getLogger(__name__)


class Reload:
    """Watches namespaces.yaml; what it said when the worker started is left to `register`."""

    def __init__(self, client: Client, settings: Settings) -> None:
        """Watch the file that the settings name."""
        self._client = client
        self._settings = settings
        self._place = namespaces_path(settings)

    async def run(self) -> None:
        """Look every ten seconds until cancelled; a broken file changes nothing and is reported once.

        What a namespace refuses, since it is being unregistered, is offered to it again at each look.
        """
        refused: Mapping[str, str] = {}
        seen = await asyncio.to_thread(self._content)
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            content = await asyncio.to_thread(self._content)
            if content is None or (content == seen and not refused):
                continue
            again = refused if content == seen else {}
            seen, refused = content, {}
            try:
                await self._apply(again)
            except ConfigurationError as error:
                _LOG.error("namespaces file not applied", extra={"err": str(error)})
            except NotRegistered as error:
                refused = error.refusals
                if refused != again:
                    _LOG.warning("namespaces refused their change", extra={"err": str(error)})
            except (DomainError, RPCError) as error:
                seen = None
                _LOG.warning("namespaces file not applied yet", extra={"err": str(error)})

    def _content(self) -> bytes | None:
        """Return what the file holds; None while it is gone: the repository's own does not take its place."""
        place = namespaces_path(self._settings)
        if place.is_relative_to(self._settings.root / CONFIG_FOLDER):
            self._place = place
        try:
            return self._place.read_bytes()
        except OSError:
            return None

    async def _apply(self, only: Collection[str]) -> None:
        """Register what the file holds; of it `only` these namespaces, if there are any."""
        file = await asyncio.to_thread(load_namespaces, self._place)
        specs = {name: spec for name, spec in file.specs.items() if not only or name in only}
        async for registered in register(self._client, specs, self._settings):
            if registered.change is not Change.UNCHANGED:
                _LOG.info(
                    "namespace reloaded",
                    extra={
                        "ns": registered.namespace,
                        "change": registered.change.value,
                        "undone": list(registered.undone),
                    },
                )
