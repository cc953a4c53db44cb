"""Defines the settings of an `rfc3161` target."""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from typing_extensions import override

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError, NetworkFailure, ValidationFailure
from vaultmesh.domain.setting_values import Count, Duration, Url
from vaultmesh.domain.targets_config import CommonSettings, OpenedFiles
from vaultmesh.ledgers.rfc3161.core.evidence import ALLOWS_SHA1
from vaultmesh.ledgers.rfc3161.core.trust import Pinned, read_pinned
from vaultmesh.process.settings import REPOSITORY

LONGEST_SPACING = timedelta(seconds=40)
"""A request that waits its turn must still fit into the minute that a broadcast may take."""
_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,38})){1,30}")


def _check_oid(text: str) -> str:
    if not _OID.fullmatch(text):
        message = "is not an OID - write numbers and dots, such as 1.2.3.4.1, or leave it out"
        raise InvalidValue(message)
    return text


def _check_spacing(spacing: timedelta) -> timedelta:
    if spacing > LONGEST_SPACING:
        message = f"is too long - write at most {LONGEST_SPACING.total_seconds():g}s"
        raise InvalidValue(message)
    return spacing


class TsaSettings(CommonSettings):
    """Settings of one time-stamp authority, or of several that stamp together."""

    ENVIRONMENT: ClassVar[Mapping[str, str]] = {"url": "TSA_URL", "policyOID": "TSA_POLICY_OID"}
    ALTERNATIVES: ClassVar[tuple[tuple[str, ...], ...]] = (("url", "urls"),)

    url: Url | None = None
    """The one authority; `endpoints` holds it as well."""
    urls: list[Url] = Field(default_factory=list)
    """Authorities in the order in which they are asked."""
    quorum: Annotated[Count, Field(ge=1)] = 1
    """How many tokens an anchor takes, each under another pinned root."""
    spacing: Annotated[Duration, AfterValidator(_check_spacing)] = timedelta(seconds=15)
    """Least time between two requests to one authority (T8)."""
    policy: Annotated[str, AfterValidator(_check_oid)] = Field(default="", alias="policyOID")
    """Policy that is asked for and that every token must have; empty: any."""
    allow_sha1: bool = Field(default=False, alias=ALLOWS_SHA1)
    """Whether SHA-1 may bind the signer's certificate to the token (T3)."""
    trust_file: str = Field(alias="trustBundle", min_length=1)
    """PEM file with the pinned roots, and intermediates and revocation lists if you have any; relative to the root
    folder, else to the repository."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.endpoints:
            message = "has no authority - add url or urls, or set TSA_URL"
            raise InvalidValue(message)
        if self.quorum > len(self.endpoints):
            message = (
                f"quorum is above the number of authorities, {len(self.endpoints)}"
                " - lower it, or add urls"
            )
            raise InvalidValue(message)
        return self

    @property
    def endpoints(self) -> tuple[SecretStr, ...]:
        """Every authority's URL, in the order written."""
        return (self.url,) if self.url is not None else tuple(self.urls)

    @override
    def opened_files(self, root: Path) -> OpenedFiles:
        """Look for the pinned roots."""
        try:
            self.pinned(root)
        except AnchorError as error:
            return OpenedFiles(problems=(str(error),))
        return OpenedFiles()

    def pinned(self, root: Path) -> Pinned:
        """Return the pinned roots and what revocation lists lie beside them; reads the file each time, so that a new root needs no restart.

        Raises:
            ValidationFailure: the file is in neither place, holds no root, or something that can't be read.
            NetworkFailure: it can't be read.
        """
        places = [root / self.trust_file, REPOSITORY / self.trust_file]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            message = f"trustBundle {self.trust_file} is neither below {root} nor in {REPOSITORY}: put the roots there"
            raise ValidationFailure(message)
        try:
            pinned = read_pinned(file.read_bytes())
        except OSError as error:
            message = f"trustBundle {file} can't be read ({error.strerror}): check its rights"
            raise NetworkFailure(message) from error
        except InvalidValue as error:
            message = f"trustBundle {file} {error}"
            raise ValidationFailure(message) from error
        if not pinned.roots:
            message = (
                f"trustBundle {file} holds no root, which is a certificate that signs itself: add it; "
                "intermediates have no trust of their own"
            )
            raise ValidationFailure(message)
        return pinned
