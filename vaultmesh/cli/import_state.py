"""Reads the state file of an earlier scheduler, so that its namespaces go on from their last anchors.

It is an object: namespace -> `last` (cadence -> Unix seconds of the last successful anchor) and `backoff`, which is left
behind: a fresh start tries at once.
"""

from datetime import datetime
from pathlib import Path

from pydantic_core import from_json

from vaultmesh.domain.errors import ConfigurationError, InvalidValue
from vaultmesh.domain.instants import of_seconds
from vaultmesh.domain.namespaces.config import LABELS

_LATEST_SECONDS = 300
"""How far another machine's clock may be ahead of ours."""


def read_state(path: Path, now: float) -> dict[str, dict[str, datetime]]:
    """Return the last anchors of each namespace by cadence, from the state file of an earlier scheduler.

    Raises:
        ConfigurationError: it can't be read; every problem at once.
    """
    try:
        document = from_json(path.read_bytes())
    except OSError as error:
        message = (
            f"{path}: can't be read: {error.strerror} - name the earlier scheduler's state file"
        )
        raise ConfigurationError([message]) from error
    except (ValueError, RecursionError) as error:
        message = f"{path}: is not JSON ({error}) - restore it, or register without --import-state"
        raise ConfigurationError([message]) from error
    if not isinstance(document, dict):
        message = f"{path}: holds no object of namespaces - name the earlier scheduler's state file"
        raise ConfigurationError([message])
    last_anchors: dict[str, dict[str, datetime]] = {}
    problems: list[str] = []
    for name, entry in document.items():
        try:
            last_anchors[name] = _last_anchors(entry, now)
        except InvalidValue as error:
            problems.append(f"{path}: {name}: {error}")
    if problems:
        raise ConfigurationError(problems)
    return {name: anchors for name, anchors in last_anchors.items() if anchors}


def _last_anchors(entry: object, now: float) -> dict[str, datetime]:
    last = entry.get("last", {}) if isinstance(entry, dict) else None
    if not isinstance(last, dict):
        message = 'is not of the form {"last": {"fast": <Unix seconds>}} - correct or remove it'
        raise InvalidValue(message)
    return {label: _instant(label, seconds, now) for label, seconds in last.items()}


def _instant(label: str, seconds: object, now: float) -> datetime:
    if label not in LABELS:
        message = f"last.{label} is no cadence - remove it, or use one of: {', '.join(LABELS)}"
        raise InvalidValue(message)
    if (
        not isinstance(seconds, int | float)
        or isinstance(seconds, bool)
        or not 0 <= seconds <= now + _LATEST_SECONDS
    ):
        message = (
            f"last.{label} is not an instant of the past in Unix seconds - correct or remove it"
        )
        raise InvalidValue(message)
    return of_seconds(int(seconds))
