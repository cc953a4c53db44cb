"""Defines the record of a deployment: which version of what was deployed, when and by whom.

1. A version of a component names one artifact, by its SHA-256. It may be deployed again after another one: with the next number.
2. The record is a text with a block of keys in front, as earlier tools wrote it. Ours names an entry of the audit too.
"""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from vaultmesh.domain.audit_chain import Head
from vaultmesh.domain.errors import InvalidValue, described

DEPLOYMENT = "deployment"
"""Type of the row in the Remembrancer."""
DEPLOYMENTS = f"{DEPLOYMENT}:"
"""Begins the names under which the audit has deployments, before the component."""
LONGEST_NOTE = 500
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")
_FENCE = "---"


class Deployment(BaseModel):
    """One deployment."""

    model_config = ConfigDict(frozen=True)

    component: str
    version: str
    number: int = 1
    """Which time it is that this version is deployed."""
    sha256: str
    at: datetime
    by: str = ""
    namespace: str = ""
    note: str = ""
    audit: Head | None = None
    """The end of the audit's chain, as it was then."""

    @property
    def id(self) -> str:
        """Names it in the Remembrancer and in the audit."""
        return f"{DEPLOYMENT}:{self.component}:{self.version}:{self.number}"

    @property
    def file_name(self) -> str:
        """What its record is called."""
        again = f"@{self.number}" if self.number > 1 else ""
        return f"{self.component}-{self.version}{again}.receipt"

    def text(self) -> str:
        """Return its record."""
        head = self.audit or Head()
        lines = [
            _FENCE,
            f"type: {DEPLOYMENT}",
            f"component: {json.dumps(self.component)}",
            f"version: {json.dumps(self.version)}",
            f"timestamp: {self.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "evidence:",
            f"  artifact: {json.dumps(f'{self.component}-{self.version}')}",
            f"  sha256: {json.dumps(self.sha256)}",
            "status: active",
            "verified_by: vmsh-scheduler",
            f"number: {self.number}",
            f"recorded_by: {json.dumps(self.by)}",
            f"namespace: {json.dumps(self.namespace)}",
            f"note: {json.dumps(self.note)}",
            "audit:",
            f"  entry: {head.entry}",
            f"  hash: {json.dumps(head.hash)}",
            _FENCE,
            "",
            f"Version {self.version} of {self.component} was deployed. Its audit had {head.entry} entries then.",
            "",
        ]
        return "\n".join(lines)


def read_name(text: str, what: str) -> str:
    """Return a component or version.

    Raises:
        InvalidValue: it can't stand in a file's name.
    """
    if not _NAME.fullmatch(text):
        message = f"{described(text)} is no {what}: use up to 100 letters, digits and . _ + -, and begin with a letter or digit"
        raise InvalidValue(message)
    return text


def read_sha256(text: str) -> str:
    """Return a SHA-256 as 64 small hex digits.

    Raises:
        InvalidValue: it is none.
    """
    match = _SHA256.fullmatch(text)
    if match is None:
        message = f"{described(text)} is no SHA-256: write its 64 hex digits, as sha256sum or the digest of an image shows them"
        raise InvalidValue(message)
    return match[1].lower()


def read_deployment(content: bytes) -> Deployment:
    """Return what a record says; one of an earlier tool says less.

    Raises:
        InvalidValue: it is no record of a deployment.
    """
    keys: dict[str, str] = {}
    lines = content.decode(errors="replace").splitlines()
    for line in lines[1:] if lines[:1] == [_FENCE] else ():
        if line == _FENCE:
            break
        key, _, value = line.strip().partition(": ")
        keys[key] = _value(value)
    try:
        has_head = keys.get("hash") is not None
        return Deployment.model_validate(
            {
                "component": keys["component"],
                "version": keys["version"],
                "number": keys.get("number", 1),
                "sha256": read_sha256(keys["sha256"]),
                "at": keys["timestamp"],
                "by": keys.get("recorded_by", ""),
                "namespace": keys.get("namespace", ""),
                "note": keys.get("note", ""),
                "audit": {"entry": keys["entry"], "hash": keys["hash"]} if has_head else None,
            }
        )
    except (KeyError, ValidationError, InvalidValue) as error:
        message = f"it is no record of a deployment ({type(error).__name__})"
        raise InvalidValue(message) from error


def _value(text: str) -> str:
    try:
        value = from_json(text) if text.startswith('"') else text
    except ValueError:
        return text
    return value if isinstance(value, str) else text


def number_of(asked: Deployment, earlier: Sequence[Deployment]) -> int:
    """Return which time it is that a version is deployed; the newest one asked for again is that same one.

    Raises:
        InvalidValue: the version was another artifact.
    """
    of_version = [row for row in earlier if row.version == asked.version]
    for row in of_version:
        if row.sha256 != asked.sha256:
            message = (
                f"version {asked.version} of {asked.component} was recorded with SHA-256 {row.sha256}; a version names one "
                "artifact: give the other one another version"
            )
            raise InvalidValue(message)
    is_newest = bool(earlier) and earlier[-1].version == asked.version
    return max(1, len(of_version) if is_newest else len(of_version) + 1)
