"""The place where schemes meet their modules: one line each, and nothing else names a scheme.

A module offers `Settings` (the keys of its section in anchors.yaml) and `open_target`; it is imported when a target of
its scheme is opened, because client libraries are large.
"""

from importlib import import_module
from pathlib import Path

from vaultmesh.domain.failures import ValidationFailure
from vaultmesh.domain.problems import ConfigurationError
from vaultmesh.domain.target import Target
from vaultmesh.domain.targets_config import CommonSettings
from vaultmesh.ledgers.driver import Anchoring, SchemeModule
from vaultmesh.process.config_files import AnchorsFile

SCHEMES = {
    "btc": "vaultmesh.ledgers.bitcoin.driver",
    "eip155": "vaultmesh.ledgers.evm.driver",
    "rfc3161": "vaultmesh.ledgers.rfc3161.driver",
}
"""Module of each scheme."""


def _module(target: Target) -> SchemeModule:
    name = SCHEMES.get(target.scheme)
    if name is None:
        message = f"target {target} has an unknown scheme; there are: {', '.join(sorted(SCHEMES))}"
        raise ValidationFailure(message)
    module: SchemeModule = import_module(name)
    return module


def settings_model(target: Target) -> type[CommonSettings]:
    """Return the model of a target's section in anchors.yaml.

    Raises:
        ValidationFailure: the scheme is unknown.
    """
    return _module(target).Settings


def open_target(
    target: Target, anchors: AnchorsFile, root: Path, *, signing: bool = True
) -> Anchoring:
    """Return a configured target; `signing=False` does without keys.

    Raises:
        ValidationFailure: unknown scheme, or settings that don't describe the target; every problem at once.
    """
    module = _module(target)
    try:
        settings = anchors.settings(target, module.Settings, signing=signing)
    except ConfigurationError as error:
        raise ValidationFailure(str(error)) from error
    return module.open_target(target, settings, root)
