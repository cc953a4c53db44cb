"""The driver of the notary: entries are appended to a register, each signed by a key in a file."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typing_extensions import override

from tests.ledgers.notary.proof import message_of, signature_check
from vaultmesh.domain.aggregator.ledger_messages import (
    AggregatorSettings,
    BlockRef,
    Broadcasted,
    Bumped,
    Reservation,
    RoundState,
    RoundView,
    SignedCandidate,
    Terms,
    Verdict,
    WatchedRound,
)
from vaultmesh.domain.checks import Check, holds_if
from vaultmesh.domain.failures import ValidationFailure
from vaultmesh.domain.instants import write_time
from vaultmesh.domain.target import Target
from vaultmesh.domain.targets_config import CommonSettings
from vaultmesh.ledgers.driver import Anchoring, Claim, Evidence, Fate

REGISTER = "notary/register"


class Settings(CommonSettings):
    """Where the notary's key lies, relative to the root."""

    key_file: str


def open_target(target: Target, settings: Settings, root: Path) -> Anchoring:
    """Return the notary."""
    return Notary(target, settings, root)


class Notary(Anchoring):
    """One notary."""

    def __init__(self, target: Target, settings: Settings, root: Path) -> None:
        self._register = root / REGISTER
        self._key_file = root / settings.key_file
        self._target = target

    @property
    @override
    def aggregator_settings(self) -> AggregatorSettings:
        return AggregatorSettings(window_seconds=0.05, window_max_seconds=1.0, max_leaves=100)

    @property
    @override
    def aggregation(self) -> Any:
        return "auto"

    @property
    @override
    def confirmations(self) -> int:
        return 0

    @property
    @override
    def poll_seconds(self) -> float:
        return 0.1

    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(self._key_file.read_text()))

    def _entry(self, tx_ref: str) -> dict[str, str] | None:
        place = self._register / tx_ref.replace(":", "_")
        return json.loads(place.read_text()) if place.exists() else None

    @override
    async def reserve(
        self,
        commitment: bytes,
        label: str,
        *,
        last: Reservation | None,
        highest_stored: Callable[[str], int | None],
        known: Callable[[bytes], bool] | None = None,
    ) -> tuple[Reservation, Terms]:
        public = self._key().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
        time = write_time(datetime.now(UTC).replace(microsecond=0))
        fields: Terms = {"commitment": commitment.hex(), "time": time, "key": public}
        return Reservation(account=public, fields=fields), {}

    @override
    async def sign(self, reservation: Reservation, terms: Terms, n: int) -> SignedCandidate:
        commitment = bytes.fromhex(str(reservation.fields["commitment"]))
        moment = datetime.fromisoformat(str(reservation.fields["time"]))
        signature = self._key().sign(message_of(commitment, moment))
        reference = f"entry:{sha256(signature).hexdigest()[:32]}"
        return SignedCandidate(n=n, tx_ref=reference, raw=signature.hex(), terms=terms)

    @override
    async def broadcast(self, reservation: Reservation, candidate: SignedCandidate) -> Broadcasted:
        self._register.mkdir(parents=True, exist_ok=True)
        entry = {**reservation.fields, "signature": candidate.raw}
        (self._register / candidate.tx_ref.replace(":", "_")).write_text(json.dumps(entry))
        return Broadcasted(verdict=Verdict.ACCEPTED)

    @override
    async def bump(self, reservation: Reservation, highest: Terms) -> Bumped:
        return Bumped(message="a notary takes no bids")

    @override
    async def look(self, rounds: Sequence[WatchedRound]) -> list[RoundView]:
        return [self._view(one) for one in rounds]

    def _view(self, watched: WatchedRound) -> RoundView:
        entry = self._entry(watched.tx_refs[-1])
        if entry is None:
            return RoundView(round_id=watched.round_id, state=RoundState.MISSING)
        return RoundView(
            round_id=watched.round_id,
            state=RoundState.INCLUDED,
            tx_ref=watched.tx_refs[-1],
            block=BlockRef(
                number=0,
                hash=sha256(entry["signature"].encode()).hexdigest(),
                time=datetime.fromisoformat(entry["time"]),
            ),
            irrevocable=True,
            final=True,
        )

    @override
    async def evidence(self, watched: WatchedRound | None, view: RoundView, raw: str) -> Evidence:
        entry = self._entry(view.tx_ref)
        if entry is None:
            message = f"{view.tx_ref} is not in the register"
            raise ValidationFailure(message)
        moment = datetime.fromisoformat(entry["time"])
        scheme = {"key": entry["key"], "signature": entry["signature"]}
        return Evidence(scheme, view.tx_ref, None, 0, moment)

    @override
    async def fate(self, reservation: Reservation, tx_refs: Sequence[str]) -> Fate:
        return Fate(shown_by="" if self._entry(tx_refs[-1]) is None else "the notary")

    @override
    async def adoptable(self, reservation: Reservation, tx_ref: str) -> SignedCandidate:
        raise ValidationFailure(tx_ref)

    @override
    async def verify(self, claim: Claim) -> list[Check]:
        entry = self._entry(claim.tx_ref)
        key, signature = (bytes.fromhex(str(claim.evidence[name])) for name in ("key", "signature"))
        return [
            holds_if("entry", claim.tx_ref, condition=entry is not None),
            signature_check(key, signature, claim.commitment, claim.anchor_ts),
        ]

    @override
    async def close(self) -> None:
        return None
