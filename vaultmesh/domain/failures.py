"""Gives failures their kinds and weights; `vaultmesh.domain.messages.Backoff` has their delays."""

from enum import StrEnum

from vaultmesh.domain.errors import DomainError


class FailureKind(StrEnum):
    """Kind of a failure; decides how patiently it is tried again and what an operator is told."""

    NETWORK = "network"
    """Transport, time-outs, 408/429/5xx, rate limits, storage, a node that is still syncing."""
    AUTH = "auth"
    """401/403, wallet locked, no funds, fee above the node's or our cap."""
    VALIDATION = "validation"
    """Revert, wrong chain id, contract or network, refused reply, bad batch."""
    UNKNOWN = "unknown"
    """Everything else."""


WEIGHT = {
    FailureKind.NETWORK: 1.0,
    FailureKind.AUTH: 2.0,
    FailureKind.VALIDATION: 0.5,
    FailureKind.UNKNOWN: 1.0,
}
ADVICE = {
    FailureKind.NETWORK: "check that the endpoint and the storage are reachable; it goes on by itself",
    FailureKind.AUTH: "check key, funds, credentials and fee caps; it goes on by itself once mended",
    FailureKind.VALIDATION: "check chain id, contract, configuration and the batch named",
    FailureKind.UNKNOWN: "read the message; if it names a node's answer we don't know, report it",
}


class AnchorError(DomainError):
    """A step of anchoring failed; the message says what was tried, against what, and what can be done.

    Never holds a secret, a URL with credentials, or signed bytes that were not sent.
    """

    kind = FailureKind.UNKNOWN

    def __init__(self, message: str, *, kind: FailureKind | None = None) -> None:
        """Say what failed; `kind` overrides the class's own."""
        super().__init__(message)
        if kind is not None:
            self.kind = kind


class NetworkFailure(AnchorError):
    """The other side, or the storage, could not be reached or did not answer in time."""

    kind = FailureKind.NETWORK


class AuthFailure(AnchorError):
    """We are not allowed to, or cannot pay."""

    kind = FailureKind.AUTH


class ValidationFailure(AnchorError):
    """The other side, or the input, is not what it must be."""

    kind = FailureKind.VALIDATION
