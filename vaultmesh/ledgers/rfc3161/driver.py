"""Makes a time-stamp authority (RFC 3161) a target: commitments are stamped, and the tokens kept.

1. The request is decided once, with its nonce, and is what a candidate consists of; it is sent to every authority.
2. A round counts as included, and final, once enough sound replies lie beside its candidate: there is nothing to wait for.
3. What the aggregator knows a round by is the request's hash, since a serial number comes with the reply; receipts have the number.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from pydantic import JsonValue
from typing_extensions import override

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
from vaultmesh.domain.checks import Check
from vaultmesh.domain.depth import required_depth
from vaultmesh.domain.diagnosis import Diagnosis, wrong
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError, NetworkFailure, ValidationFailure
from vaultmesh.domain.instants import write_time
from vaultmesh.domain.paths import ROUNDS_FOLDER
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.manifest import Mode, round_id
from vaultmesh.domain.tally import Tally, TargetFigures
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.driver import Anchoring, Claim, Evidence, Fate
from vaultmesh.ledgers.failures import public_url
from vaultmesh.ledgers.rfc3161.authority import CALL_SECONDS
from vaultmesh.ledgers.rfc3161.core.evidence import ALLOWS_SHA1, allows_sha1, bytes_of, text_of
from vaultmesh.ledgers.rfc3161.core.token import NONCE_BITS, build_request, read_request
from vaultmesh.ledgers.rfc3161.core.trust import CHAIN, ROOT, Pinned, ends_in_use, ends_of
from vaultmesh.ledgers.rfc3161.diagnosis import TsaDiagnosis
from vaultmesh.ledgers.rfc3161.evidence import checks_of, clocks_disagree, evidence_of
from vaultmesh.ledgers.rfc3161.quorum import Authorities
from vaultmesh.ledgers.rfc3161.replies import Kept, Question, Replies
from vaultmesh.ledgers.rfc3161.settings import TsaSettings
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.round_files import RoundFiles

POLL_SECONDS = 1.0
"""Between two looks at the stored replies: only a broadcast changes them."""

MOST_LOOKED_AT = 10_000
"""Stored rounds of which the newest is searched, once after a start."""

Settings = TsaSettings
"""The keys of an authority's section in anchors.yaml."""
_log = logging.getLogger(__name__)


def open_target(target: Target, settings: TsaSettings, root: Path) -> "TsaAnchoring":
    """Return the target; connects with the first request. `trustBundle` and replies are relative to `root`."""
    return TsaAnchoring(target, settings, root)


class TsaAnchoring(Anchoring):
    """One or more authorities that stamp together."""

    def __init__(
        self,
        target: Target,
        settings: TsaSettings,
        root: Path,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        """Use `open_target`."""
        self._target = target
        self._settings = settings
        self._root = root
        self._store = LocalStore(root)
        self._urls = [url.get_secret_value() for url in settings.endpoints]
        spacing = settings.spacing.total_seconds()
        self._stored_ends: list[Mapping[str, datetime]] = []
        """When what the newest stored tokens rest on ends; read while there is none since the start."""
        self._authorities = Authorities(self._urls, settings.quorum, spacing, call_seconds)

    @override
    def __repr__(self) -> str:
        """Name the target; settings hold secrets."""
        return f"TsaAnchoring({self._target})"

    @property
    @override
    def aggregator_settings(self) -> AggregatorSettings:
        return AggregatorSettings(
            window_seconds=self._settings.window.total_seconds(),
            window_max_seconds=self._settings.window_max.total_seconds(),
            max_leaves=self._settings.max_leaves,
        )

    @property
    @override
    def aggregation(self) -> Mode:
        return self._settings.aggregation.value

    @property
    @override
    def confirmations(self) -> int:
        return 0

    @property
    @override
    def poll_seconds(self) -> float:
        return POLL_SECONDS

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
        """Decide the request; there is nothing to pay with and no order, so nobody can be behind."""
        await self._pinned()  # nothing is asked for that could not be verified
        nonce = secrets.randbits(NONCE_BITS)
        request = build_request(commitment, nonce, self._settings.policy)
        fields: Terms = {
            "commitment": "0x" + commitment.hex(),
            "request": text_of(request),
            "quorum": self._settings.quorum,
        }
        if self._settings.allow_sha1:
            fields[ALLOWS_SHA1] = True
        account = ", ".join(public_url(url) for url in self._urls)
        return Reservation(account=account, fields=fields), {}

    @override
    async def sign(self, reservation: Reservation, terms: Terms, n: int) -> SignedCandidate:
        """Return the request itself: an authority needs no signature of ours."""
        request = _question(reservation).request
        return SignedCandidate(n=n, tx_ref=_ref_of(request), raw=text_of(request), terms=terms)

    @override
    async def broadcast(self, reservation: Reservation, candidate: SignedCandidate) -> Broadcasted:
        """Have the request stamped; what is stored already is not asked for again.

        Raises:
            AnchorError: too few authorities gave a sound token.
        """
        question = self._question(reservation)
        replies, pinned = self._replies(question.commitment), await self._pinned()
        tokens = await self._authorities.gather(question, pinned, replies, candidate.n)
        if clocks_disagree(tokens):
            self.tally.disagreements += 1
            times = {stamped.authority: write_time(stamped.token.gen_time) for stamped in tokens}
            _log.warning("clocks of authorities disagree", extra={"times": times})
        return Broadcasted(verdict=Verdict.ACCEPTED)

    @override
    async def bump(self, reservation: Reservation, highest: Terms) -> Bumped:
        return Bumped(message="an authority takes no bids; the same request is sent again")

    @override
    async def look(self, rounds: Sequence[WatchedRound]) -> list[RoundView]:
        pinned = await self._pinned()
        return [await asyncio.to_thread(self._view, watched, pinned) for watched in rounds]

    @override
    async def evidence(self, watched: WatchedRound | None, view: RoundView, raw: str) -> Evidence:
        """Collect the tokens.

        Raises:
            NetworkFailure: the stored replies do not carry the round any more.
        """
        if watched is None:
            message = "a time stamp's evidence is in its receipt; nobody else keeps it"
            raise ValidationFailure(message)
        question = await asyncio.to_thread(self._asked, watched)
        pinned = await self._pinned()
        tokens = await asyncio.to_thread(self._sound, question, pinned) if question else []
        quorum = self._quorum(watched.reservation.fields)
        if question is None or len(tokens) < quorum:
            message = (
                f"round {view.round_id} of {self._target} has {len(tokens)} of {quorum} sound replies "
                "now; restore out/rounds, or the roots in trustBundle"
            )
            raise NetworkFailure(message)
        return evidence_of(tokens, bytes_of(raw) or question.request)

    @override
    async def fate(
        self, reservation: Reservation, tx_refs: Sequence[str], notes: Terms | None = None
    ) -> Fate:
        """Say whether tokens are stored: a request uses up nothing, and a second one costs nothing."""
        del tx_refs, notes
        question, pinned = self._question(reservation), await self._pinned()
        tokens = await asyncio.to_thread(self._sound, question, pinned)
        line = f"{len(tokens)} sound tokens are stored"
        enough = len(tokens) >= self._quorum(reservation.fields)
        return Fate(shown_by=line if enough else "", lines=(line,))

    @override
    async def adoptable(self, reservation: Reservation, tx_ref: str) -> SignedCandidate:
        message = f"{tx_ref} can't be adopted: an authority keeps no ledger of what it stamped"
        raise ValidationFailure(message)

    @override
    async def verify(self, claim: Claim) -> list[Check]:
        pinned = await self._pinned()
        return await asyncio.to_thread(
            checks_of,
            claim,
            pinned,
            quorum=self._quorum(claim.reservation),
            policy=self._settings.policy,
            leave_for_sha1=self._settings.allow_sha1,
        )

    @override
    async def probe(self) -> str:
        await self._authorities.probe()
        return ""

    @property
    @override
    def tally(self) -> Tally:
        return self._authorities.tally

    @override
    async def figures(self) -> TargetFigures:
        """Read what ends when from the pinned file, and from the newest tokens: those since the start, else stored ones."""
        pinned = await self._pinned()
        ends = ends_of(pinned, datetime.now(UTC))
        if not self.tally.ends and not self._stored_ends:
            self._stored_ends = await asyncio.to_thread(self._ends_of_stored, pinned)
        newest = [*self.tally.ends.values()] or self._stored_ends
        if newest:
            ends |= {kind: min(end[kind] for end in newest) for kind in (ROOT, CHAIN)}
        return TargetFigures(ends=ends)

    def _ends_of_stored(self, pinned: Pinned) -> list[Mapping[str, datetime]]:
        """Return when what the tokens of the newest stored round rest on ends; nothing if there is none, or it can't be read."""
        files = RoundFiles(self._store, self._target)
        stamps = {
            round_id: stamp.modified_ns
            for round_id in self._store.names(files.folder)[:MOST_LOOKED_AT]
            if (stamp := files.candidate_stamp(round_id, 0)) is not None
        }
        try:
            stored = files.candidates(max(stamps, key=lambda round_id: stamps[round_id]))
            question = self._question(Reservation.model_validate(stored[-1].reservation))
            return [ends_in_use(kept.path, pinned) for kept in self._sound(question, pinned)]
        except (AnchorError, InvalidValue, ValueError):
            return []

    @override
    async def diagnose(self, older_tx: str) -> list[Diagnosis]:
        del older_tx
        target = str(self._target)
        try:
            pinned = await self._pinned()
        except AnchorError as error:
            what, _, mend = str(error).partition(": ")
            return [wrong(target, "pinned root", what, mend or "check trustBundle")]
        return await TsaDiagnosis(target, self._authorities.all, self._settings).lines(pinned)

    @override
    async def close(self) -> None:
        await self._authorities.close()

    async def _pinned(self) -> Pinned:
        return await asyncio.to_thread(self._settings.pinned, self._root)

    def _question(self, reservation: Reservation) -> Question:
        """Return what a reservation asks; SHA-1 is allowed if it was then, or is today."""
        question = _question(reservation)
        allowed = question.allows_sha1 or self._settings.allow_sha1
        return replace(question, allows_sha1=allowed)

    def _quorum(self, fields: Mapping[str, JsonValue]) -> int:
        """Return how many tokens make a round's anchor: what it was asked under, or less if less is wanted today."""
        recorded, today = fields.get("quorum"), self._settings.quorum
        return min(recorded, today) if isinstance(recorded, int) else today

    def _replies(self, commitment: bytes) -> Replies:
        folder = f"{ROUNDS_FOLDER}/{self._target.path}/{round_id(self._target, commitment)}"
        return Replies(self._store, folder)

    def _asked(self, watched: WatchedRound) -> Question | None:
        """Return what was asked for a round: by its reservation, or for a legacy anchor by what is stored, if anything."""
        commitment = watched.commitment.digest
        reservation = watched.reservation
        if not reservation.fields:
            files = RoundFiles(self._store, self._target)
            stored = files.candidates(round_id(self._target, commitment))
            if not stored:
                return None
            reservation = Reservation.model_validate(stored[-1].reservation)
        question = self._question(reservation)
        if question.commitment != commitment:
            message = f"the reservation of round {watched.round_id} is for another commitment"
            raise ValidationFailure(message)
        return question

    def _sound(self, question: Question, pinned: Pinned) -> list[Kept]:
        return self._replies(question.commitment).sound(question, pinned)

    def _view(self, watched: WatchedRound, pinned: Pinned) -> RoundView:
        question = self._asked(watched)
        tokens = self._sound(question, pinned) if question is not None else []
        if len(tokens) < self._quorum(watched.reservation.fields):
            return RoundView(round_id=watched.round_id, state=RoundState.MISSING)
        primary = tokens[0]
        return RoundView(
            round_id=watched.round_id,
            state=RoundState.INCLUDED,
            tx_ref=watched.tx_refs[-1],
            block=BlockRef(
                number=0, hash=sha256(primary.reply).hexdigest(), time=primary.token.gen_time
            ),
            depth=required_depth(watched.depths),
            irrevocable=True,
            final=True,
        )


def _question(reservation: Reservation) -> Question:
    """Return what a reservation asks.

    Raises:
        ValidationFailure: it is not of this scheme's form.
    """
    request = bytes_of(reservation.fields.get("request"))
    commitment = reservation.fields.get("commitment")
    try:
        if request is None or not isinstance(commitment, str):
            message = "it lacks request or commitment"
            raise InvalidValue(message)
        read_request(request)
        digest = MerkleRoot.parse_receipt_form(commitment).digest
        return Question(digest, request, allows_sha1=allows_sha1(reservation.fields))
    except InvalidValue as error:
        message = f"the recorded reservation is no time-stamp request: {error}"
        raise ValidationFailure(message) from error


def _ref_of(request: bytes) -> str:
    return f"request:{sha256(request).hexdigest()}"
