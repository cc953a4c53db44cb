"""Rounds whose folders are gone: what they hold is not paid for again, and somebody is told."""

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.anchoring.evidence import candidate_of
from activities.anchoring.recover import Recovery
from activities.anchoring.resolve import Resolving
from activities.anchoring.seal import Sealing
from activities.anchoring.stores import Files
from activities.anchoring.submit import Submitting
from tests.anchoring.scripted_ledger import EVM, RESERVATION, VIEW_REFS, Stage, owed, request
from tests.ledgers.evm.chain import Chain, Submitter
from vaultmesh.domain.aggregator.decisions import Decision
from vaultmesh.domain.aggregator.ledger_messages import SignedCandidate, WatchedRound
from vaultmesh.domain.aggregator.messages import (
    KnownRound,
    RecordState,
    Recover,
    Recovered,
    RememberedRound,
    Reserve,
    Reserved,
    Resolution,
    Resolve,
    Seal,
    Sealed,
    Sign,
)
from vaultmesh.domain.aggregator.rounds import MOST_ENDED, OpenRounds
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.manifest import Closed, RoundOutcome, compose
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.evm.driver import EvmAnchoring

FIRST, SECOND = "dao:first", "dao:second"
CANDIDATE = SignedCandidate(n=0, tx_ref=VIEW_REFS[EVM], raw="0x01")


def root(number: int) -> MerkleRoot:
    return MerkleRoot(bytes([100 + number]) * 32)


class Rounds:
    """Numbered final rounds, and the steps of an aggregator that knows the newest of them."""

    def __init__(self, folder: Path) -> None:
        self.stage = Stage(folder)
        self.ids: list[str] = []

    async def final(self, *numbers: int, batches: str = "out/batches") -> str:
        """Return a final round with the next number: a tree of batches, or one batch's own root."""
        rounds = self.stage.files.rounds(EVM)
        for number in numbers:
            self.stage.batch(f"b{number}", root=root(number), folder=batches)
        leaves = [owed(f"b{number}", request(FIRST), root=root(number)) for number in numbers]
        manifest = compose(EVM, leaves, "auto", lambda: b"\0" * 32)
        rounds.create_manifest(manifest)
        reservation = RESERVATION.model_dump(mode="json")
        candidate = candidate_of(CANDIDATE, reservation, len(self.ids) + 1)
        rounds.add_candidate(manifest.round_id, candidate)
        await self.stage.included(manifest.round_id, request(FIRST))
        self.ids.append(manifest.round_id)
        return manifest.round_id

    async def recover(self, remembered: Sequence[str] = ()) -> Recovered:
        order = Recover(
            target=EVM,
            remembered=[
                RememberedRound(
                    round_id=round_id,
                    reservation=RESERVATION,
                    candidates=[CANDIDATE],
                    end=self.stage.ledger.view(round_id),
                    revision=7,
                    number=self.ids.index(round_id) + 1,
                )
                for round_id in remembered
            ],
            number=len(self.ids),
        )
        recovery = Recovery(self.stage.files, self.stage.ledger)  # type: ignore[arg-type]
        return await ActivityEnvironment().run(recovery.recover, order)

    async def seal(
        self, namespace: str = FIRST, folder: str = "", number: int = 0, *, knows: bool = False
    ) -> Sealed:
        ended = [KnownRound(round_id=named, candidates=1) for named in self.ids[-MOST_ENDED:]]
        order = Seal(
            target=EVM,
            requests=[request(namespace, batches=folder)],
            ended=ended if knows else [],
            number=number,
        )
        sealing = Sealing(self.stage.files, self.stage.ledger)  # type: ignore[arg-type]
        return await ActivityEnvironment().run(sealing.seal, order)

    async def sealed_by(self, known: OpenRounds) -> Sealed:
        """Seal for an aggregator that knows these rounds."""
        order = Seal(target=EVM, requests=[request(FIRST)], ended=known.known_ended())
        sealing = Sealing(self.stage.files, self.stage.ledger)  # type: ignore[arg-type]
        return await ActivityEnvironment().run(sealing.seal, order)

    async def forget(self, round_id: str = "all") -> Resolution:
        order = Resolve(
            target=EVM,
            round_id=round_id,
            decision=Decision.FORGOTTEN,
            by="ops",
            number=len(self.ids),
        )
        resolving = Resolving(self.stage.files, self.stage.ledger)  # type: ignore[arg-type]
        return await ActivityEnvironment().run(resolving.resolve, order)

    def folder(self, round_id: str) -> Path:
        return self.stage.root / "out/rounds" / EVM.path / round_id

    def delete(self, *folders: Path | str) -> None:
        for folder in folders or ("out/rounds", "out/anchors"):
            shutil.rmtree(self.stage.root / folder)

    def restart(self) -> None:
        """Go on as a process that knows nothing."""
        self.stage.files = Files(self.stage.root)

    def batches_of(self, sealed: Sealed) -> set[str]:
        """Return what a new round holds."""
        if sealed.round is None:
            return set()
        manifest = self.stage.files.rounds(EVM).read_manifest(sealed.round.round_id)
        return {leaf.batch_id for leaf in manifest.leaves}


@pytest.fixture
def rounds(tmp_path: Path) -> Rounds:
    return Rounds(tmp_path)


# --- what only numbers tell


async def test_rounds_older_than_an_aggregator_remembers_are_not_paid_for_again(
    rounds: Rounds,
) -> None:
    for number in range(1, MOST_ENDED + 5):
        await rounds.final(number)
    rounds.delete()
    rounds.restart()
    assert (await rounds.seal(number=len(rounds.ids), knows=True)).stale
    recovered = await rounds.recover(rounds.ids[-MOST_ENDED:])
    assert recovered.number == len(rounds.ids)
    assert any("number 1 to 4;" in problem for problem in recovered.problems)
    for _ in range(2):
        sealed = await rounds.seal()
        assert sealed.round is None
        assert {late.round_id for late in sealed.late_joiners} < set(rounds.ids[-MOST_ENDED:])
        rounds.restart()
    await rounds.forget()
    assert rounds.batches_of(await rounds.seal()) == {"b1", "b2", "b3", "b4"}
    rounds.restart()
    problems = (await rounds.recover()).problems
    assert all("nothing is held back" in problem for problem in problems)


async def test_rounds_that_are_gone_are_known_to_who_heard_of_them_alone(rounds: Rounds) -> None:
    for number in (1, 2, 3):
        await rounds.final(number)
    rounds.delete()
    rounds.restart()
    assert "number 1 to 3;" in (await rounds.recover()).problems[0]
    sealed = await rounds.seal()
    assert sealed.round is None
    assert "--forget" in sealed.refused[0].reason


async def test_nothing_is_held_back_once_the_folders_are_back(rounds: Rounds) -> None:
    for number in (1, 2, 3):
        await rounds.final(number)
    shutil.move(rounds.folder(rounds.ids[1]), rounds.stage.root / "aside")
    rounds.delete("out/anchors")
    rounds.restart()
    assert "number 2;" in (await rounds.seal(number=3)).problems[0]
    shutil.move(rounds.stage.root / "aside", rounds.folder(rounds.ids[1]))
    sealed = await rounds.seal(number=3)
    assert (sealed.problems, sealed.refused, sealed.round) == ([], [], None)


async def test_a_lost_round_that_is_signed_again_keeps_its_number(rounds: Rounds) -> None:
    round_id = await rounds.final(1)
    reservation = RESERVATION.model_dump(mode="json")
    again = candidate_of(CANDIDATE.model_copy(update={"n": 1}), reservation, 1)
    rounds.stage.files.rounds(EVM).add_candidate(round_id, again)
    rounds.restart()
    assert (await rounds.seal(number=1)).problems == []


# --- what a process has seen


@pytest.mark.parametrize("stored", [None, 0, 4])
async def test_a_number_counts_only_as_the_rounds_files_have_it(
    rounds: Rounds, stored: int | None
) -> None:
    """An attempt that was cut off, by a worker that numbered otherwise, stored the same bytes: no other number is gone."""
    store = rounds.stage.files.rounds(EVM)
    manifest = compose(EVM, [owed("b1", request(FIRST), root=root(1))], "auto", bytes)
    store.create_manifest(manifest)
    if stored is not None:
        reservation = RESERVATION.model_dump(mode="json")
        store.add_candidate(manifest.round_id, candidate_of(CANDIDATE, reservation, stored))
    order = Sign(
        target=EVM, round_id=manifest.round_id, n=0, reservation=RESERVATION, terms={}, number=7
    )
    submitting = Submitting(rounds.stage.files, OpenedLedger(Signer()))  # type: ignore[arg-type]
    signed = await ActivityEnvironment().run(submitting.sign, order)
    assert signed.candidate is not None
    assert signed.number == store.number_of(manifest.round_id) == (7 if stored is None else stored)


async def test_a_higher_bid_is_counted_once_and_a_new_reservation_is_no_bid(rounds: Rounds) -> None:
    store, bumped = rounds.stage.files.rounds(EVM), list[Target]()
    manifest = compose(EVM, [owed("b1", request(FIRST), root=root(1))], "auto", bytes)
    store.create_manifest(manifest)
    ledger = OpenedLedger(Bidder())
    submitting = Submitting(rounds.stage.files, ledger, bumped.append)  # type: ignore[arg-type]
    for n, reservation in ((0, RESERVATION), (1, RESERVATION), (1, RESERVATION)):
        order = Sign(
            target=EVM, round_id=manifest.round_id, n=n, reservation=reservation, terms={}, number=1
        )
        await ActivityEnvironment().run(submitting.sign, order)
    assert bumped == [EVM]


async def test_a_final_round_that_a_process_has_seen_is_not_paid_for_again_when_its_folder_is_gone(
    rounds: Rounds,
) -> None:
    tree = await rounds.final(1, 2)
    rounds.restart()
    await rounds.seal(SECOND)
    rounds.delete(rounds.folder(tree), "out/anchors")
    rounds.stage.batch("b9", root=root(9))
    sealed = await rounds.seal()
    assert rounds.batches_of(sealed) == {"b9"}
    (problem,) = sealed.problems
    assert f"{tree}: it is gone" in problem
    await rounds.forget(tree)
    assert rounds.batches_of(await rounds.seal()) >= {"b1", "b2"}
    rounds.restart()
    assert (await rounds.recover()).problems == [], "its number is given up too"


async def test_a_round_that_was_given_up_by_its_number_is_given_up_where_its_name_is_known(
    rounds: Rounds,
) -> None:
    """Two workers: one has read the round, the other carries out the decision."""
    tree = await rounds.final(1, 2)
    rounds.restart()
    await rounds.seal(SECOND)
    knowing = rounds.stage.files
    rounds.delete(rounds.folder(tree), "out/anchors")
    rounds.restart()
    await rounds.forget()
    rounds.stage.files = knowing
    sealed = await rounds.seal()
    assert (rounds.batches_of(sealed), sealed.problems) == ({"b1", "b2"}, [])


@pytest.mark.parametrize("leaves", [(1,), (1, 2)], ids=["own root", "tree"])
async def test_what_a_process_has_written_is_stored_again(
    rounds: Rounds, leaves: tuple[int, ...]
) -> None:
    round_id = await rounds.final(*leaves)
    before = {place.name: place.read_bytes() for place in rounds.folder(round_id).iterdir()}
    rounds.delete()
    sealed = await rounds.seal(number=1)
    assert (sealed.stale, sealed.round, sealed.problems) == (False, None, [])
    after = {place.name: place.read_bytes() for place in rounds.folder(round_id).iterdir()}
    assert after == before
    await rounds.stage.record(rounds.stage.order(RecordState.CLOSED, round_id, request(FIRST)))
    assert rounds.stage.receipt(FIRST).is_final


async def test_what_another_process_has_signed_and_ended_is_stored_again_with_its_end(
    rounds: Rounds,
) -> None:
    other = Files(rounds.stage.root)
    round_id = rounds.stage.sign(owed("b1", request(FIRST), root=root(1)))
    assert other.rounds(EVM).open_rounds() == [round_id]
    await rounds.stage.included(round_id, request(FIRST))
    assert other.rounds(EVM).open_rounds() == []
    before = {place.name: place.read_bytes() for place in rounds.folder(round_id).iterdir()}
    rounds.delete()
    assert other.damaged(EVM).look() == []
    after = {place.name: place.read_bytes() for place in rounds.folder(round_id).iterdir()}
    assert after == before


async def test_an_operators_decision_is_not_undone_by_what_a_process_remembers(
    rounds: Rounds,
) -> None:
    round_id = await rounds.final(1, 2)
    (rounds.folder(round_id) / "manifest.json").write_text("{")
    rounds.delete("out/anchors")
    rounds.restart()
    await rounds.forget(round_id)
    rounds.stage.files.damaged(EVM).mend()
    assert (rounds.folder(round_id) / "manifest.json").read_text() == "{"


@pytest.mark.parametrize("left", ["manifest.json", "closed.json"])
async def test_a_final_round_of_which_one_file_is_left_is_not_paid_for_again(
    rounds: Rounds, left: str
) -> None:
    """The process that wrote it stores it again; to one that only read it, it is gone; to a new one, its number is."""
    tree = await rounds.final(1, 2)
    await rounds.final(3)
    rounds.restart()
    await rounds.seal(SECOND)
    rounds.delete("out/anchors")
    for place in rounds.folder(tree).iterdir():
        if place.name != left:
            place.unlink()
    for _ in range(2):
        assert (await rounds.seal(number=2)).round is None
        rounds.restart()
    assert (await rounds.recover()).problems


async def test_a_round_of_which_two_files_are_damaged_hides_no_other(rounds: Rounds) -> None:
    tree, other = await rounds.final(1, 2), await rounds.final(3, 4)
    rounds.restart()
    await rounds.seal(SECOND)
    for named in (tree, other):
        (rounds.folder(named) / "closed.json").write_text("{")
        (rounds.folder(named) / "manifest.json").write_text("{")
    rounds.delete("out/anchors")
    rounds.stage.files.damaged(EVM).look()
    assert (await rounds.seal()).round is None
    rounds.restart()
    told = " ".join((await rounds.recover()).problems)
    assert tree in told
    assert other in told


async def test_a_folder_of_rounds_that_is_deleted_whole_is_noticed_although_nothing_is_owed(
    rounds: Rounds,
) -> None:
    await rounds.final(1, 2)
    rounds.restart()
    await rounds.seal(SECOND)
    rounds.delete("out/rounds")
    assert rounds.stage.files.known_targets() == [EVM]
    (problem,) = rounds.stage.files.damaged(EVM).look()
    assert "it is gone" in problem


async def test_the_sequence_of_a_round_that_is_gone_stays_used(rounds: Rounds) -> None:
    round_id = await rounds.final(1, 2)
    rounds.restart()
    await rounds.seal(SECOND)
    rounds.delete(rounds.folder(round_id))
    recovered = await rounds.recover()
    assert recovered.last is not None
    assert (recovered.last.account, recovered.last.sequence) == ("0xa", 0)


# --- what an aggregator remembers


async def test_a_round_that_an_older_copy_has_without_its_winning_bid_gets_it_back(
    rounds: Rounds,
) -> None:
    round_id = await rounds.final(1)
    bid = CANDIDATE.model_copy(update={"n": 1, "tx_ref": "0x" + "cd" * 32, "raw": "0x02"})
    (rounds.folder(round_id) / "closed.json").unlink()
    rounds.restart()
    remembered = RememberedRound(
        round_id=round_id,
        reservation=RESERVATION,
        candidates=[CANDIDATE, bid],
        end=rounds.stage.ledger.view(round_id),
        number=1,
    )
    order = Recover(target=EVM, remembered=[remembered], number=1)
    recovery = Recovery(rounds.stage.files, rounds.stage.ledger)  # type: ignore[arg-type]
    (recovered,) = (await ActivityEnvironment().run(recovery.recover, order)).rounds
    assert [candidate.tx_ref for candidate in recovered.candidates] == [
        CANDIDATE.tx_ref,
        bid.tx_ref,
    ]


async def test_a_round_that_an_older_copy_has_as_lost_and_that_became_final_is_not_paid_for_again(
    rounds: Rounds,
) -> None:
    """It was lost, sealed in a tree that was lost too, signed again by itself, and is final: the copy knows of the loss alone."""
    round_id = await rounds.final(1)
    folder = rounds.folder(round_id)
    first = (folder / "candidate-0.json").read_bytes()
    (folder / "candidate-0.json").unlink()
    lost = Closed(outcome=RoundOutcome.LOST, revision=2, candidates=1, round_id=round_id)
    (folder / "closed.json").write_text(lost.document())
    (folder / "candidate-0.json").write_bytes(first)
    rounds.delete("out/anchors")
    rounds.restart()
    winner = SignedCandidate(n=1, tx_ref=VIEW_REFS[EVM], raw="0x02")
    ended = RememberedRound(
        round_id=round_id,
        reservation=RESERVATION,
        candidates=[winner],
        end=rounds.stage.ledger.view(round_id),
        revision=7,
        number=1,
    )
    known = OpenRounds(ended=[ended])
    assert (await rounds.sealed_by(known)).stale
    recovery = Recovery(rounds.stage.files, rounds.stage.ledger)  # type: ignore[arg-type]
    order = Recover(target=EVM, remembered=known.remembered())
    assert (await ActivityEnvironment().run(recovery.recover, order)).rounds == []
    sealed = await rounds.sealed_by(known)
    assert not sealed.stale
    assert (sealed.round, [late.round_id for late in sealed.late_joiners]) == (None, [round_id])


async def test_a_lost_round_that_is_gone_is_stored_again_as_lost(rounds: Rounds) -> None:
    lost = await rounds.final(1)
    rounds.delete()
    rounds.restart()
    remembered = RememberedRound(
        round_id=lost, reservation=RESERVATION, candidates=[CANDIDATE], lost=True, number=1
    )
    order = Recover(target=EVM, remembered=[remembered], number=1)
    recovery = Recovery(rounds.stage.files, rounds.stage.ledger)  # type: ignore[arg-type]
    recovered = await ActivityEnvironment().run(recovery.recover, order)
    assert (recovered.rounds, recovered.problems) == ([], [])
    assert rounds.batches_of(await rounds.seal(number=1)) == {"b1"}


# --- what is given up


async def test_giving_all_up_gives_up_no_round_of_a_batch_that_lies_in_any_folder(
    tmp_path: Path,
) -> None:
    rounds = Rounds(tmp_path)
    alone = await rounds.final(1, batches="out/elsewhere")
    tree = await rounds.final(2, 3)
    for round_id in (alone, tree):
        (rounds.folder(round_id) / "manifest.json").unlink()
    rounds.delete("out/anchors")
    rounds.stage.files = Files(tmp_path, folders=lambda: ["out/elsewhere"])
    await rounds.forget()
    assert not (rounds.folder(alone) / "resolved.json").exists()
    assert (rounds.folder(tree) / "resolved.json").exists()
    sealed = await rounds.seal(folder="out/elsewhere")
    assert (sealed.round, [late.round_id for late in sealed.late_joiners]) == (None, [alone])
    with pytest.raises(ApplicationError, match="known from elsewhere"):
        await rounds.forget(alone)
    rounds.stage.files = Files(tmp_path, folders=lambda: ["out/elsewhere"])
    asking = request(FIRST, batches="out/elsewhere")
    await rounds.stage.record(rounds.stage.order(RecordState.CLOSED, alone, asking))
    assert rounds.stage.receipt(FIRST).is_final


async def test_giving_up_very_many_rounds_is_done_before_an_operator_waits_no_longer(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look costs as much as there are rounds that are gone: one for each of them took minutes for 300."""
    for number in range(1, 11, 2):
        await rounds.final(number, number + 1)
    rounds.restart()
    damaged = rounds.stage.files.damaged(EVM)
    damaged.look()
    rounds.delete("out/rounds")
    looks: list[str] = []
    look = damaged.look

    def noting() -> list[str]:
        looks.append(threading.current_thread().name)
        return look()

    monkeypatch.setattr(damaged, "look", noting)
    await rounds.forget()
    assert len(looks) == 1
    assert looks != [threading.main_thread().name], "a storage that hangs must not hold the loop"
    assert look() == []


async def test_receipts_of_very_many_rounds_that_are_gone_stay_below_what_a_server_takes(
    rounds: Rounds,
) -> None:
    """Of batches that name no namespace each of a thousand requests misses the receipts of all rounds."""
    ids = [await rounds.final(number, number + 1) for number in range(1, 9, 2)]
    rounds.delete("out/anchors")
    requests = [request(f"dao:n{number}") for number in range(3)]
    sealing = Sealing(rounds.stage.files, rounds.stage.ledger)  # type: ignore[arg-type]
    driven = KnownRound(round_id=ids[2], candidates=1)
    order = Seal(target=EVM, requests=requests, rounds=[driven])
    sealed = await ActivityEnvironment().run(sealing.seal, order)
    named = [(late.round_id, late.requests) for late in sealed.late_joiners]
    assert named == [(ids[0], [asked.id for asked in requests]), (ids[2], [])]


# --- what the ledger shows


@pytest.mark.evm
async def test_an_anchor_of_ours_that_no_file_and_no_history_knows_is_not_paid_for_again(
    chain: Chain, submitter: Submitter, tmp_path: Path
) -> None:
    """Volume and database were put back to an older copy: only the chain knows of the second round."""
    rounds = Rounds(tmp_path)
    rounds.stage.ledger = OpenedLedger(submitter.target)  # type: ignore[assignment]
    for number in (1, 2):
        rounds.stage.batch(f"b{number}", root=root(number))
    first = await submitter.sign("b1", root(1).digest)
    await submitter.rebroadcast(first)
    await chain.mine()
    store_final(rounds, first)
    await submitter.rebroadcast(await submitter.sign("b2", root(2).digest))
    await chain.mine(6)

    reserve = Reserve(
        target=EVM,
        round_id="ab" * 16,
        commitment=root(9),
        label="b9",
        rounds=[],
        last=first.reservation,
    )

    async def reserved() -> Reserved:
        step = Submitting(rounds.stage.files, rounds.stage.ledger).reserve  # type: ignore[arg-type]
        return await ActivityEnvironment().run(step, reserve)

    assert (await reserved()).stale
    for _ in range(2):
        sealed = await rounds.seal()
        assert (sealed.round, len(sealed.late_joiners)) == (None, 1)
        assert "it is gone" in sealed.problems[0]
        rounds.restart()
    rounds.stage.batch("b3", root=root(3))
    assert rounds.batches_of(await rounds.seal()) == {"b3"}, "b2 alone is held back"
    reservation = (await reserved()).reservation
    assert reservation is not None
    assert reservation.sequence == 2
    assert "owed again: batch b2" in (await rounds.forget()).lines[-1]
    assert rounds.batches_of(await rounds.seal()) == {"b2"}


class Signer:
    """A target that signs the same bytes every time."""

    async def sign(self, *_: object) -> SignedCandidate:
        return CANDIDATE


class Bidder(Signer):
    """A target that signs other bytes for each bid."""

    async def sign(self, *asked: object) -> SignedCandidate:
        n = asked[2]
        return CANDIDATE.model_copy(update={"n": n, "tx_ref": f"0x{n:064x}", "raw": f"0x{n:02x}"})


class OpenedLedger:
    """An opened target."""

    def __init__(self, target: EvmAnchoring | Signer) -> None:
        self.target = target

    async def open(self, target: Target) -> EvmAnchoring | Signer:
        assert target == EVM
        return self.target


def store_final(rounds: Rounds, watched: WatchedRound) -> None:
    """Store a direct commitment as final."""
    store = rounds.stage.files.rounds(EVM)
    leaf = owed(watched.label, request(FIRST), root=watched.commitment)
    manifest = compose(EVM, [leaf], "auto", bytes)
    store.create_manifest(manifest)
    signed = SignedCandidate(n=0, tx_ref=watched.tx_refs[0], raw="0x01")
    store.add_candidate(
        manifest.round_id, candidate_of(signed, watched.reservation.model_dump(mode="json"), 1)
    )
    closed = Closed(
        outcome=RoundOutcome.FINAL,
        tx_ref=signed.tx_ref,
        account=watched.reservation.account,
        sequence=watched.reservation.sequence,
    )
    store.close(manifest.round_id, closed)
