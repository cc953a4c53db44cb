"""Opens targets: each ledger has a room here and a row in `vaultmesh.domain.schemes`.

The driver of a scheme is imported when the first target of it is opened, because client libraries are large.
"""

from importlib import import_module
from pathlib import Path

from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.domain.failures import ValidationFailure
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.domain.target import Target
from vaultmesh.domain.targets_config import CommonSettings
from vaultmesh.ledgers.driver import Anchoring, SchemeModule
from vaultmesh.process.config_files import AnchorsFile


def _module(target: Target) -> SchemeModule:
    scheme = SCHEMES.get(target.scheme)
    if scheme is None:
        message = f"target {target} has an unknown scheme; there are: {', '.join(sorted(SCHEMES))}"
        raise ValidationFailure(message)
    module: SchemeModule = import_module(scheme.driver)
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
