"""Reads the committed contract artifact; it needs no compiler, and is all that a deployment needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from pydantic import JsonValue, TypeAdapter

CONTRACT = "RemembrancerAnchor"
ARTIFACT_FILE = Path(__file__).with_name(f"{CONTRACT}.json")
Artifact: TypeAlias = Mapping[str, JsonValue]

_DOCUMENT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


def load_artifact(path: Path = ARTIFACT_FILE) -> dict[str, JsonValue]:
    """Return the artifact that the repository carries."""
    return _DOCUMENT.validate_json(path.read_bytes())
