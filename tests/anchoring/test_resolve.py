"""An operator decides about a round: what speaks against it, what is written, and who reads it."""

import json
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.anchoring.recover import Recovery
from activities.anchoring.resolve import DECIDED_BEFORE, Resolving
from activities.anchoring.seal import Sealing
from activities.anchoring.stores import Files
from activities.anchoring.submit import Submitting
from tests.anchoring.scripted_ledger import EVM, owed, request
from tests.ledgers.evm.chain import Chain, Submitter, foreign_transfer
from tests.ledgers.evm.conftest import MakeSubmitter
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.aggregator.decisions import Decision
from vaultmesh.domain.aggregator.ledger_messages import SignedCandidate, Verdict, WatchedRound
from vaultmesh.domain.aggregator.messages import (
    Broadcast,
    KnownRound,
    Recover,
    Recovered,
    Reserve,
    Resolution,
    Resolve,
    Seal,
    Sign,
)
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.manifest import Candidate, compose
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.evm.driver import EvmAnchoring

pytestmark = pytest.mark.evm

FIRST = "dao:first"


class OpenTarget:
    """Targets that are opened already."""

    def __init__(self, target: EvmAnchoring) -> None:
        self.target = target

    async def open(self, target: Target) -> EvmAnchoring:
        assert target == EVM
        return self.target


class SignedRound:
    """One root with one signed round, and the steps that work on it."""

    def __init__(self, root: Path, submitter: Submitter) -> None:
        self.root, self.submitter = root, submitter
        self.files = Files(root)
        self.opened = OpenTarget(submitter.target)
        self.watched: WatchedRound

    async def sign(self) -> WatchedRound:
        """Sign a tree of two shared batches, and store what was signed."""
        leaves = [
            owed(name, request(FIRST), root=MerkleRoot(secrets.token_bytes(32)))
            for name in ("b1", "b2")
        ]
        manifest = compose(EVM, leaves, "auto", lambda: secrets.token_bytes(32))
        self.files.rounds(EVM).create_manifest(manifest)
        watched = await self.submitter.sign(manifest.label, manifest.commitment.digest)
        self.submitter.candidates[manifest.round_id] = self.submitter.candidates.pop(
            watched.round_id
        )
        self.watched = watched.model_copy(update={"round_id": manifest.round_id})
        self.store(self.submitter.candidates[manifest.round_id][0])
        return self.watched

    def store(self, candidate: SignedCandidate) -> None:
        document = {
            "n": candidate.n,
            "reservation": self.watched.reservation.model_dump(mode="json"),
            "terms": candidate.terms,
            "raw": candidate.raw,
            "hash": candidate.tx_ref,
        }
        rounds = self.files.rounds(EVM)
        rounds.add_candidate(self.watched.round_id, Candidate.model_validate(document))

    async def resolve(self, decision: Decision, tx_ref: str = "", round_id: str = "") -> Resolution:
        order = Resolve(
            target=EVM,
            round_id=round_id or self.watched.round_id,
            decision=decision,
            tx_ref=tx_ref,
            by="ops@desk",
        )
        step = Resolving(self.files, self.opened).resolve  # type: ignore[arg-type]
        return await ActivityEnvironment().run(step, order)

    async def refused(self, decision: Decision, tx_ref: str = "", round_id: str = "") -> str:
        """Return why a decision is refused; nothing is written then."""
        with pytest.raises(ApplicationError) as refusal:
            await self.resolve(decision, tx_ref, round_id)
        assert self.decisions() == []
        return str(refusal.value)

    async def recover(self) -> Recovered:
        """Recover as a new process does, after the loss of every history."""
        self.files = Files(self.root)
        step = Recovery(self.files, self.opened).recover  # type: ignore[arg-type]
        return await ActivityEnvironment().run(step, Recover(target=EVM))

    def folder(self) -> Path:
        return self.root / "out/rounds" / EVM.path / self.watched.round_id

    def decisions(self) -> list[dict[str, object]]:
        places = sorted((self.root / "out/rounds").rglob("resolved*.json"))
        return [json.loads(place.read_text()) for place in places]

    def known(self, *, lost: bool = False) -> list[KnownRound]:
        count = self.files.rounds(EVM).count(self.watched.round_id)
        return [KnownRound(round_id=self.watched.round_id, candidates=count, lost=lost)]


@pytest_asyncio.fixture
async def signed(submitter: Submitter, tmp_path: Path) -> AsyncIterator[SignedRound]:
    made = SignedRound(tmp_path, submitter)
    await made.sign()
    yield made


async def use_nonce(chain: Chain, key: str, *, blocks: int = 6) -> None:
    """Have somebody else use the reserved nonce."""
    await chain.rpc("eth_sendRawTransaction", foreign_transfer(chain, key, 0))
    await chain.mine(blocks)


# --- lost


async def test_a_round_whose_nonce_is_unused_is_never_lost(signed: SignedRound) -> None:
    assert "could still be mined" in await signed.refused(Decision.LOST)


async def test_a_round_that_waits_in_a_pool_is_never_lost(signed: SignedRound) -> None:
    await signed.submitter.rebroadcast(signed.watched)
    assert signed.watched.tx_refs[0] in await signed.refused(Decision.LOST)


async def test_a_round_that_one_provider_shows_is_not_lost_though_others_forgot_it(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter, tmp_path: Path
) -> None:
    signed = SignedRound(tmp_path, await make_submitter([proxy.url, chain.url]))
    await signed.sign()
    await signed.submitter.rebroadcast(signed.watched)
    await chain.mine(6)
    proxy.forge("eth_getTransactionByHash", lambda _asked, _true: None)
    proxy.forge("eth_getTransactionReceipt", lambda _asked, _true: None)
    proxy.forge("eth_getLogs", lambda _asked, _true: [])
    assert "is not lost" in await signed.refused(Decision.LOST)


async def test_a_round_is_not_lost_when_its_event_is_there_and_its_transaction_forgotten(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter, tmp_path: Path
) -> None:
    signed = SignedRound(tmp_path, await make_submitter([proxy.url]))
    await signed.sign()
    await signed.submitter.rebroadcast(signed.watched)
    await chain.mine(6)
    proxy.forge("eth_getTransactionByHash", lambda _asked, _true: None)
    proxy.forge("eth_getTransactionReceipt", lambda _asked, _true: None)
    assert signed.watched.tx_refs[0] in await signed.refused(Decision.LOST)


async def test_nothing_is_given_up_while_a_provider_does_not_answer(
    chain: Chain, key: str, proxy: LyingProvider, make_submitter: MakeSubmitter, tmp_path: Path
) -> None:
    signed = SignedRound(tmp_path, await make_submitter([chain.url, proxy.url]))
    await signed.sign()
    await use_nonce(chain, key)
    proxy.fail_with_status("*", 503)
    assert "every provider must answer" in await signed.refused(Decision.LOST)
    proxy.obey()
    await signed.resolve(Decision.LOST)


async def test_a_use_of_the_nonce_that_can_be_undone_is_waited_for(
    chain: Chain, key: str, signed: SignedRound
) -> None:
    await use_nonce(chain, key, blocks=1)
    assert "not final yet" in await signed.refused(Decision.LOST)


async def test_a_decision_says_what_who_when_and_why(
    chain: Chain, key: str, signed: SignedRound
) -> None:
    await use_nonce(chain, key)
    done = await signed.resolve(Decision.LOST)
    (written,) = signed.decisions()
    assert done.path == f"out/rounds/{EVM.path}/{signed.watched.round_id}/resolved.json"
    assert (written["decision"], written["by"]) == ("lost", "ops@desk")
    assert str(written["decidedAt"]).startswith("20")
    assert any("counts 1 transactions" in line for line in written["evidence"])  # type: ignore[attr-defined]
    again = await signed.resolve(Decision.LOST)
    assert again.lines == [DECIDED_BEFORE]
    assert len(signed.decisions()) == 1


async def test_every_step_reads_that_a_round_was_given_up(
    chain: Chain, key: str, signed: SignedRound
) -> None:
    await use_nonce(chain, key)
    await signed.resolve(Decision.LOST)
    (recovered,) = (await signed.recover()).rounds
    assert (recovered.sealed.round_id, recovered.lost) == (signed.watched.round_id, True)
    environment, order = ActivityEnvironment(), Seal(target=EVM, requests=[], rounds=signed.known())
    sealing = Sealing(signed.files, signed.opened).seal  # type: ignore[arg-type]
    submitting = Submitting(signed.files, signed.opened)  # type: ignore[arg-type]
    assert (await environment.run(sealing, order)).stale
    reserve = Reserve(
        target=EVM,
        round_id=signed.watched.round_id,
        commitment=signed.watched.commitment,
        label=signed.watched.label,
        rounds=signed.known(),
        last=signed.watched.reservation,
    )
    assert (await ActivityEnvironment().run(submitting.reserve, reserve)).stale
    sign = Sign(
        target=EVM,
        round_id=signed.watched.round_id,
        n=1,
        reservation=signed.watched.reservation,
        terms={"maxFeePerGas": 10**12, "maxPriorityFeePerGas": 10**10},
    )
    assert (await ActivityEnvironment().run(submitting.sign, sign)).stale
    assert signed.files.rounds(EVM).count(signed.watched.round_id) == 1


async def test_the_batches_of_a_round_that_was_given_up_are_sealed_again(
    chain: Chain, key: str, signed: SignedRound
) -> None:
    await use_nonce(chain, key)
    await signed.resolve(Decision.LOST)
    sealing = Sealing(signed.files, signed.opened).seal  # type: ignore[arg-type]
    order = Seal(
        target=EVM, requests=[], rounds=signed.known(lost=True), reseal=[signed.watched.round_id]
    )
    sealed = await ActivityEnvironment().run(sealing, order)
    assert sealed.round is not None
    assert sealed.resealed == [signed.watched.round_id]
    leaves = signed.files.rounds(EVM).read_manifest(sealed.round.round_id).leaves
    assert {leaf.batch_id for leaf in leaves} == {"b1", "b2"}


# --- adopted


async def bumped_and_lost(signed: SignedRound, chain: Chain) -> str:
    """Have a second bid mined of which no file is left; returns its hash."""
    await signed.submitter.rebroadcast(signed.watched)
    bumped = await signed.submitter.bump(signed.watched)
    await chain.mine(2)
    return bumped.tx_refs[-1]


async def test_a_transaction_that_no_file_has_is_adopted(chain: Chain, signed: SignedRound) -> None:
    tx_ref = await bumped_and_lost(signed, chain)
    await signed.resolve(Decision.ADOPTED, tx_ref)
    (recovered,) = (await signed.recover()).rounds
    assert [candidate.tx_ref for candidate in recovered.candidates] == [
        *signed.watched.tx_refs,
        tx_ref,
    ]
    assert recovered.candidates[1] == signed.submitter.candidates[signed.watched.round_id][1]
    again = await signed.resolve(Decision.ADOPTED, tx_ref)
    assert again.lines == [DECIDED_BEFORE]
    assert len(signed.decisions()) == 1


async def test_an_adoption_that_was_cut_off_is_completed_by_the_next_recovery(
    chain: Chain, signed: SignedRound
) -> None:
    tx_ref = await bumped_and_lost(signed, chain)
    await signed.resolve(Decision.ADOPTED, tx_ref)
    (signed.folder() / "candidate-1.json").unlink()
    (recovered,) = (await signed.recover()).rounds
    assert [candidate.tx_ref for candidate in recovered.candidates] == [
        *signed.watched.tx_refs,
        tx_ref,
    ]
    assert (signed.folder() / "candidate-1.json").exists()


async def test_a_transaction_that_is_not_the_rounds_is_never_adopted(
    chain: Chain, key: str, signed: SignedRound
) -> None:
    foreign = await chain.rpc("eth_sendRawTransaction", foreign_transfer(chain, key, 0))
    await chain.mine()
    assert "differs in to, value, data" in await signed.refused(Decision.ADOPTED, str(foreign))
    deployed = (await chain.rpc("eth_getBlockByNumber", "0x1", False))["transactions"][0]
    assert await signed.refused(Decision.ADOPTED, str(deployed))
    assert "no provider shows" in await signed.refused(Decision.ADOPTED, "0x" + "ab" * 32)


async def test_a_provider_that_alters_a_transaction_makes_nobody_adopt_it(
    chain: Chain, key: str, proxy: LyingProvider, make_submitter: MakeSubmitter, tmp_path: Path
) -> None:
    signed = SignedRound(tmp_path, await make_submitter([proxy.url]))
    await signed.sign()
    foreign = await chain.rpc("eth_sendRawTransaction", foreign_transfer(chain, key, 0))
    await chain.mine()
    fields = signed.watched.reservation.fields

    def forged(_asked: object, true: object) -> dict[str, object]:
        assert isinstance(true, dict)
        return {**true, "to": fields["to"], "input": fields["data"], "value": "0x0"}

    proxy.forge("eth_getTransactionByHash", forged)  # type: ignore[arg-type]
    proxy.forge("eth_getRawTransactionByHash", lambda _asked, _true: "0x02")
    assert "no provider shows" in await signed.refused(Decision.ADOPTED, str(foreign))


# --- forgotten


def damage(signed: SignedRound) -> None:
    manifest = signed.folder() / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    signed.files = Files(signed.root)


async def test_a_round_that_can_be_read_is_not_given_up(signed: SignedRound) -> None:
    assert "can be read" in await signed.refused(Decision.FORGOTTEN)


async def test_a_round_that_nobody_knows_is_not_given_up(signed: SignedRound) -> None:
    refusal = await signed.refused(Decision.FORGOTTEN, round_id="ab" * 16)
    assert "nobody knows round" in refusal
    assert "is no round" in await signed.refused(Decision.FORGOTTEN, round_id="../../keys")


async def test_a_round_that_could_still_be_mined_is_not_given_up(signed: SignedRound) -> None:
    await signed.submitter.rebroadcast(signed.watched)
    damage(signed)
    assert "could still be mined" in await signed.refused(Decision.FORGOTTEN)


async def test_all_goes_on_once_an_unreadable_round_is_given_up(
    chain: Chain, signed: SignedRound, tmp_path: Path
) -> None:
    await signed.submitter.rebroadcast(signed.watched)
    await chain.mine(6)
    damage(signed)
    before = await signed.recover()
    assert (before.rounds, before.unreadable) == ([], [signed.watched.round_id])
    asked = Seal(target=EVM, requests=[request(FIRST)])
    with pytest.raises(ApplicationError, match="nothing is signed beside it"):
        await ActivityEnvironment().run(Sealing(signed.files, signed.opened).seal, asked)  # type: ignore[arg-type]
    await signed.resolve(Decision.FORGOTTEN)
    (written,) = signed.decisions()
    assert "restore it from a backup" in str(written["evidence"])
    recovered = await signed.recover()
    assert (recovered.rounds, recovered.problems) == ([], [])
    assert recovered.last == signed.watched.reservation, "its nonce stays used"
    for name in ("b1", "b2"):
        place = tmp_path / f"out/batches/{name}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        root = f"sha256:{secrets.token_hex(32)}"
        document = {"id": name, "root": root, "leaves": [root], "createdAt": 1_760_000_000}
        place.write_text(json.dumps(document))
    asking: list[AnchorRequest] = [request(FIRST)]
    sealing = Sealing(signed.files, signed.opened).seal  # type: ignore[arg-type]
    sealed = await ActivityEnvironment().run(sealing, Seal(target=EVM, requests=asking))
    assert sealed.round is not None
    assert sealed.round.leaves == 2


async def test_a_round_that_was_given_up_and_is_restored_counts_again(
    chain: Chain, signed: SignedRound
) -> None:
    content = (signed.folder() / "manifest.json").read_bytes()
    await signed.submitter.rebroadcast(signed.watched)
    await chain.mine(6)
    damage(signed)
    await signed.resolve(Decision.FORGOTTEN)
    (signed.folder() / "manifest.json").write_bytes(content)
    (recovered,) = (await signed.recover()).rounds
    assert recovered.sealed.round_id == signed.watched.round_id


async def test_all_rounds_that_can_not_be_read_are_given_up_by_one_decision(
    chain: Chain, signed: SignedRound
) -> None:
    first = signed.watched.round_id
    await signed.submitter.rebroadcast(signed.watched)
    await chain.mine(6)
    second = await signed.sign()
    for name in (first, second.round_id):
        (signed.folder().parent / name / "manifest.json").unlink()
    signed.files = Files(signed.root)
    with pytest.raises(
        ApplicationError, match=r"1 of 2 rounds were given up, and these not: .*mined"
    ):
        await signed.resolve(Decision.FORGOTTEN, round_id="all")
    await signed.submitter.rebroadcast(signed.watched)
    await chain.mine(6)
    assert (await signed.resolve(Decision.FORGOTTEN, round_id="all")).lines
    assert (await signed.recover()).problems == []
    with pytest.raises(ApplicationError, match="nothing is held back"):
        await signed.resolve(Decision.FORGOTTEN, round_id="all")
    with pytest.raises(ApplicationError, match="is no round"):
        await signed.resolve(Decision.LOST, round_id="all")


async def test_bytes_that_are_gone_are_stored_again_before_they_are_sent(
    signed: SignedRound,
) -> None:
    shutil.rmtree(signed.folder())
    (candidate,) = signed.submitter.candidates[signed.watched.round_id]
    order = Broadcast(
        target=EVM,
        round_id=signed.watched.round_id,
        reservation=signed.watched.reservation,
        candidate=candidate,
    )
    submitting = Submitting(signed.files, signed.opened)  # type: ignore[arg-type]
    for _ in range(2):
        done = await ActivityEnvironment().run(submitting.broadcast, order)
        assert done.verdict is Verdict.ACCEPTED
    stored = json.loads((signed.folder() / "candidate-0.json").read_text())
    assert (stored["raw"], stored["hash"]) == (candidate.raw, candidate.tx_ref)
