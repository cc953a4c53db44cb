"""Anchors rounds at real time-stamp authorities, step by step as an aggregator does."""

import base64
import secrets
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devnet.tsa import Tsa
from vaultmesh.domain.aggregator.ledger_messages import (
    RoundView,
    SignedCandidate,
    Verdict,
    WatchedRound,
)
from vaultmesh.domain.checks import Check
from vaultmesh.domain.rounds.manifest import round_id
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.driver import Claim, Evidence
from vaultmesh.ledgers.rfc3161.driver import TsaAnchoring
from vaultmesh.ledgers.rfc3161.settings import TsaSettings

TARGET = Target("rfc3161", "tsa")
ROOTS = "roots.pem"


def settings_of(*authorities: Tsa, root: Path, **given: Any) -> TsaSettings:
    """Return settings for authorities, and pin their roots below `root`."""
    if not (root / ROOTS).exists():
        (root / ROOTS).write_bytes(b"".join(one.roots.read_bytes() for one in authorities))
    urls = given.pop("urls", [one.url for one in authorities])
    values = {"urls": urls, "spacing": "0s", "trustBundle": ROOTS, **given}
    return TsaSettings.model_validate(values)


class TsaSubmitter:
    """A target, and what the aggregator does with it."""

    def __init__(self, settings: TsaSettings, root: Path, call_seconds: float = 5.0) -> None:
        """Anchor below a root."""
        self.root = root
        self.settings = settings
        self.target = TsaAnchoring(TARGET, settings, root, call_seconds)
        self.candidates: dict[str, SignedCandidate] = {}

    async def sign(self, commitment: bytes | None = None) -> WatchedRound:
        """Reserve and sign."""
        commitment = commitment or secrets.token_bytes(32)
        reservation, terms = await self.target.reserve(
            commitment, "label", last=None, highest_stored=lambda _: None
        )
        candidate = await self.target.sign(reservation, terms, 0)
        watched = WatchedRound(
            round_id=round_id(TARGET, commitment),
            commitment="0x" + commitment.hex(),
            label="label",
            reservation=reservation,
            tx_refs=[candidate.tx_ref],
            signed_at=datetime.now(UTC),
            depths=[0, 3],
        )
        self.candidates[watched.round_id] = candidate
        return watched

    async def broadcast(self, watched: WatchedRound) -> Verdict:
        """Broadcast a signed round."""
        candidate = self.candidates[watched.round_id]
        return (await self.target.broadcast(watched.reservation, candidate)).verdict

    async def anchor(self, commitment: bytes | None = None) -> WatchedRound:
        """Reserve, sign, broadcast."""
        watched = await self.sign(commitment)
        assert await self.broadcast(watched) is Verdict.ACCEPTED
        return watched

    async def look(self, watched: WatchedRound) -> RoundView:
        """Look at one round."""
        (view,) = await self.target.look([watched])
        return view

    async def evidence(self, watched: WatchedRound) -> Evidence:
        """Return what its receipts would carry."""
        view = await self.look(watched)
        return await self.target.evidence(watched, view, self.candidates[watched.round_id].raw)

    async def claim(self, watched: WatchedRound) -> Claim:
        """Return what its receipts would claim."""
        evidence = await self.evidence(watched)
        return Claim(
            commitment=watched.commitment.digest,
            tx_ref=evidence.tx_ref,
            block_number=evidence.block_number,
            anchor_ts=evidence.anchor_ts,
            required_depth=0,
            evidence=evidence.scheme,
        )

    def folder(self, watched: WatchedRound) -> Path:
        """Return the round's folder."""
        return self.root / "out" / "rounds" / TARGET.path / watched.round_id

    def replies(self, watched: WatchedRound) -> list[Path]:
        """Return the stored replies."""
        return sorted(self.folder(watched).glob("reply-*.tsr"))


def failed(checks: list[Check]) -> list[str]:
    """Return the names of the checks that did not pass."""
    return [one.name for one in checks if not one.passed]


def openssl_says(entry: Mapping[str, Any], claim: Claim, roots: Path) -> str:
    """Return what `openssl ts -verify` says of a token, by request and by data; empty if it agrees."""
    folder = roots.parent
    (folder / "data").write_bytes(claim.commitment)
    (folder / "query.tsq").write_bytes(base64.b64decode(str(claim.evidence["request"])))
    (folder / "token.tsr").write_bytes(base64.b64decode(str(entry["token"])))
    said = ""
    for against in (("-data", "data"), ("-queryfile", "query.tsq")):
        done = subprocess.run(
            ["openssl", "ts", "-verify", *against, "-in", "token.tsr", "-CAfile", roots.name],
            cwd=folder, capture_output=True, check=False, text=True,
        )  # fmt: skip
        said += "" if done.returncode == 0 else done.stderr
    return said
