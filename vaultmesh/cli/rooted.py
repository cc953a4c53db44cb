"""Gives settings to commands that look at files below VMSH_ROOT."""

import os

from vaultmesh.cli import output
from vaultmesh.domain.paths import CONFIG_FOLDER
from vaultmesh.process.config_files import stand_in
from vaultmesh.process.settings import Settings


def settings_with_root() -> Settings:
    """Return the settings of a command; a mistyped root would look like one where nothing has happened yet.

    Raises:
        ConfigurationError: a variable has a bad value.
        Usage: the root is no folder.
    """
    settings = Settings.from_environment(os.environ)
    if not settings.root.is_dir():
        message = f"VMSH_ROOT: {settings.root} is no folder - name the right one, or make it"
        raise output.Usage(message)
    return settings


def tell_stand_in(settings: Settings) -> None:
    """Say which namespaces.yaml is used where the root has none: nobody would look for it in the repository."""
    if (path := stand_in(settings)) is not None:
        output.note(f"{settings.root / CONFIG_FOLDER} has no namespaces.yaml: {path} is used")
