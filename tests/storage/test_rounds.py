"""Rounds on disk (X3, X11)."""

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from typing_extensions import override

from vaultmesh.domain.aggregator.decisions import Decision, Resolved
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.leaf import Leaf
from vaultmesh.domain.rounds.manifest import (
    Candidate,
    Closed,
    LateJoiner,
    Manifest,
    OwedLeaf,
    RoundOutcome,
    RoundRequest,
    compose,
)
from vaultmesh.domain.target import Target
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.rounds import Added, RoundStore

TARGET = Target.parse("eip155:31337")
REQUEST = RoundRequest(namespace="dao:x", cadence="fast", slot="89", required_depth=3)


class Hiding(LocalStore):
    """A store of which one folder seems to hold nothing."""

    hidden = ""

    @override
    def names(self, folder: str) -> list[str]:
        return [] if folder == self.hidden else super().names(folder)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


@pytest.fixture
def rounds(store: LocalStore) -> RoundStore:
    return RoundStore(store, TARGET)


def manifest_of(*batch_ids: str) -> Manifest:
    leaves = [
        OwedLeaf(
            namespace="dao:x",
            batch_id=batch_id,
            root=MerkleRoot(sha256(batch_id.encode()).digest()),
            requests=(REQUEST,),
        )
        for batch_id in batch_ids
    ]
    return compose(TARGET, leaves, "auto", lambda: sha256(batch_ids[0].encode()).digest())


def leaf_of(batch_id: str) -> Leaf:
    return Leaf("dao:x", batch_id, MerkleRoot(sha256(batch_id.encode()).digest()))


def candidate(n: int, raw: str = "0x00", sequence: int | None = 7) -> Candidate:
    reservation: dict[str, object] = {"account": "a", "sequence": sequence, "fields": {}}
    document = {"n": n, "reservation": reservation, "raw": raw, "hash": f"0x{n}"}
    return Candidate.model_validate(document)


def closed(outcome: RoundOutcome, revision: int = 0, sequence: int | None = None) -> Closed:
    return Closed(outcome=outcome, tx_ref="0x0", revision=revision, sequence=sequence)


def signed(rounds: RoundStore, *batch_ids: str, sequence: int | None = 7) -> str:
    manifest = manifest_of(*batch_ids)
    rounds.create_manifest(manifest)
    rounds.add_candidate(manifest.round_id, candidate(0, sequence=sequence))
    return manifest.round_id


def test_a_manifest_is_created_once_and_read_back(rounds: RoundStore, store: LocalStore) -> None:
    manifest = manifest_of("1", "2")
    assert rounds.create_manifest(manifest)
    assert not rounds.create_manifest(manifest)
    assert rounds.read_manifest(manifest.round_id) == manifest
    assert RoundStore(store, TARGET).read_manifest(manifest.round_id) == manifest
    path = f"out/rounds/eip155_31337/{manifest.round_id}/manifest.json"
    assert store.read(path) == manifest.document().encode()


def test_a_manifest_without_candidate_means_nothing(rounds: RoundStore) -> None:
    manifest = manifest_of("1")
    rounds.create_manifest(manifest)
    assert rounds.open_rounds() == []
    assert rounds.find_leaf(leaf_of("1")) is None
    assert rounds.find_root(manifest.commitment) is None
    assert rounds.problems() == []


def test_a_candidate_is_stored_once_for_its_number(rounds: RoundStore) -> None:
    identity = signed(rounds, "1")
    assert rounds.add_candidate(identity, candidate(0)) is Added.SAME
    assert rounds.add_candidate(identity, candidate(0, raw="0x01")) is Added.CONFLICT
    assert rounds.add_candidate(identity, candidate(1, raw="0x01")) is Added.CREATED
    assert [one.raw for one in rounds.candidates(identity)] == ["0x00", "0x01"]
    assert rounds.count(identity) == 2


def test_an_open_round_is_found_by_leaf_and_by_root(rounds: RoundStore, store: LocalStore) -> None:
    direct, tree = signed(rounds, "1"), signed(rounds, "2", "3")
    for view in (rounds, RoundStore(store, TARGET)):
        assert sorted(view.open_rounds()) == sorted([direct, tree])
        assert view.find_root(leaf_of("1").root) == direct
        assert view.find_leaf(leaf_of("1")) == direct
        assert view.find_leaf(leaf_of("2")) == view.find_leaf(leaf_of("3")) == tree
        assert view.find_leaf(leaf_of("2"), besides=[tree]) is None
        assert view.find_root(leaf_of("2").root) is None
        assert view.find_leaf(Leaf("", "2", leaf_of("2").root)) is None


def test_a_round_of_another_process_is_noticed(rounds: RoundStore, store: LocalStore) -> None:
    assert rounds.open_rounds() == []
    assert rounds.find_leaf(leaf_of("1")) is None
    identity = signed(RoundStore(store, TARGET), "1")
    assert rounds.open_rounds() == [identity]
    assert rounds.find_leaf(leaf_of("1")) == identity


def test_a_final_round_is_open_no_more_and_still_holds_its_leaves(
    rounds: RoundStore, store: LocalStore
) -> None:
    identity = signed(rounds, "1")
    rounds.close(identity, closed(RoundOutcome.FINAL, revision=4, sequence=7))
    for view in (rounds, RoundStore(store, TARGET)):
        assert view.open_rounds() == []
        assert view.find_leaf(leaf_of("1")) == identity
        assert view.highest_revision() == 4
        assert view.closed_revision(identity) == 4


def test_a_lost_round_holds_nothing_until_it_is_signed_again(
    rounds: RoundStore, store: LocalStore
) -> None:
    identity = signed(rounds, "1")
    rounds.close(identity, closed(RoundOutcome.LOST, revision=2))
    other = RoundStore(store, TARGET)
    for view in (rounds, other):
        assert view.open_rounds() == []
        assert view.find_leaf(leaf_of("1")) is view.find_root(leaf_of("1").root) is None
    assert not rounds.create_manifest(manifest_of("1"))
    rounds.add_candidate(identity, candidate(1, sequence=8))
    for view in (rounds, other):
        assert view.open_rounds() == [identity]
        assert view.find_leaf(leaf_of("1")) == identity
        assert view.closed_revision(identity) is None
        assert view.highest_sequence("a") == 8


def test_a_loss_that_is_recorded_late_does_not_close_the_next_seal(rounds: RoundStore) -> None:
    identity = signed(rounds, "1")
    rounds.add_candidate(identity, candidate(1, sequence=8))
    lost = closed(RoundOutcome.LOST).model_copy(update={"candidates": 1})
    rounds.close(identity, lost)
    assert rounds.open_rounds() == [identity]


def test_the_highest_reservation_counts_open_final_and_lost_rounds(
    rounds: RoundStore, store: LocalStore
) -> None:
    assert rounds.highest_sequence("a") is None
    assert rounds.newest_reservation() is None
    signed(rounds, "1", sequence=3)
    final, lost = signed(rounds, "2", sequence=9), signed(rounds, "3", sequence=5)
    rounds.close(final, closed(RoundOutcome.FINAL, sequence=9))
    rounds.close(lost, closed(RoundOutcome.LOST, sequence=5))
    for view in (rounds, RoundStore(store, TARGET)):
        assert view.highest_sequence("a") == 9
        newest = view.newest_reservation()
        assert newest is not None
        assert newest["sequence"] == 9


def test_a_sequence_of_a_lost_round_may_be_told_apart(
    rounds: RoundStore, store: LocalStore
) -> None:
    signed(rounds, "1", sequence=3)
    lost, again = signed(rounds, "2", sequence=4), signed(rounds, "3", sequence=5)
    for one, sequence in ((lost, 4), (again, 5)):
        rounds.close(one, closed(RoundOutcome.LOST, sequence=sequence))
    rounds.add_candidate(again, candidate(1, sequence=6))
    for view in (rounds, RoundStore(store, TARGET)):
        assert view.sequences("a") == {3, 4, 5, 6}
        assert view.sequences("a", lost=False) == {3, 6}


def test_without_sequences_there_is_still_a_newest_reservation(rounds: RoundStore) -> None:
    signed(rounds, "1", sequence=None)
    assert rounds.highest_sequence("a") is None
    assert rounds.newest_reservation() == {"account": "a", "sequence": None, "fields": {}}


def test_rounds_and_candidates_that_a_caller_does_not_name_are_told(rounds: RoundStore) -> None:
    one, two = signed(rounds, "1"), signed(rounds, "2")
    assert sorted(rounds.unknown_to({})) == sorted([one, two])
    assert rounds.unknown_to({one: 1}) == [two]
    assert rounds.unknown_to({one: 1, two: 1}) == []
    rounds.add_candidate(one, candidate(1, raw="0x01"))
    assert rounds.unknown_to({one: 1, two: 1}) == [one]


def test_a_malformed_file_is_reported_and_stops_no_other_round(
    rounds: RoundStore, store: LocalStore
) -> None:
    good, bad = signed(rounds, "1"), signed(rounds, "2")
    store.write(f"{rounds.folder}/{bad}/manifest.json", b"{")
    fresh = RoundStore(store, TARGET)
    assert fresh.open_rounds() == [good]
    assert fresh.find_leaf(leaf_of("1")) == good
    assert all(bad in problem for problem in fresh.problems())
    assert fresh.problems()
    with pytest.raises(InvalidValue, match=bad):
        fresh.read_manifest(bad)


def test_a_malformed_candidate_is_not_passed_over_for_the_next_reservation(
    rounds: RoundStore, store: LocalStore
) -> None:
    identity = signed(rounds, "1")
    store.write(f"{rounds.folder}/{identity}/candidate-1.json", b"{")
    with pytest.raises(InvalidValue, match="candidate-1"):
        rounds.highest_sequence("a")


def test_a_manifest_that_lies_in_another_round_s_folder_is_refused(
    rounds: RoundStore, store: LocalStore
) -> None:
    content = manifest_of("1").document().encode()
    store.write(f"{rounds.folder}/{'ab' * 16}/manifest.json", content)
    with pytest.raises(InvalidValue, match="it is round"):
        rounds.read_manifest("ab" * 16)


def test_a_stored_round_can_be_watched_again(rounds: RoundStore) -> None:
    identity = signed(rounds, "1", "2")
    rounds.add_candidate(identity, candidate(1, raw="0x01"))
    rounds.add_candidate(identity, candidate(2, raw="0x02", sequence=8))
    watched = rounds.watched(identity)
    assert (watched.tx_refs, watched.reservation.sequence) == (["0x2"], 8)
    assert watched.depths == [3]
    rounds.close(identity, closed(RoundOutcome.FINAL))
    watched = rounds.watched(identity)
    assert (watched.tx_refs, watched.reservation.sequence) == (["0x0", "0x1"], 7)


def test_the_index_of_leaves_survives_many_rounds(rounds: RoundStore, store: LocalStore) -> None:
    wide = manifest_of(*(f"w{n}" for n in range(4_200)))
    rounds.create_manifest(wide)
    rounds.add_candidate(wide.round_id, candidate(0))
    assert rounds.find_leaf(leaf_of("w4199")) == wide.round_id
    later = signed(rounds, "later")
    for view in (rounds, RoundStore(store, TARGET)):
        assert view.find_leaf(leaf_of("w0")) == wide.round_id
        assert view.find_leaf(leaf_of("later")) == later
        assert view.find_leaf(leaf_of("none")) is None


def test_candidate_files_have_the_documented_keys(rounds: RoundStore, store: LocalStore) -> None:
    identity = signed(rounds, "1")
    content = store.read(f"{rounds.folder}/{identity}/candidate-0.json")
    assert set(json.loads(content or b"")) == {
        "n",
        "reservation",
        "terms",
        "raw",
        "hash",
        "number",
        "roundId",
    }


# --- files that lie in another round's folder, or are gone


@pytest.mark.parametrize("name", ["candidate-0.json", "closed.json", "joined.json"])
def test_a_file_of_another_round_ends_no_round_and_is_named(
    rounds: RoundStore, store: LocalStore, name: str
) -> None:
    ours, other = signed(rounds, "1"), signed(rounds, "2", sequence=8)
    late_joiner = LateJoiner(
        namespace="dao:y", cadence="fast", slot="9", required_depth=1, leaf_namespace="",
        batch_id="x", index=0,
    )  # fmt: skip
    for one in (ours, other):
        rounds.add_late_joiners(one, [late_joiner])
    rounds.close(ours, closed(RoundOutcome.FINAL, sequence=7))
    rounds.close(other, closed(RoundOutcome.LOST, sequence=8))
    place = f"{rounds.folder}/{ours}/{name}"
    whole = store.read(place) or b""
    store.write(place, store.read(f"{rounds.folder}/{other}/{name}") or b"")
    for view in (rounds, RoundStore(store, TARGET)):
        with pytest.raises(InvalidValue, match=f"it is of round {other}"):
            _read_all(view, ours)
    if name == "closed.json":
        fresh = RoundStore(store, TARGET)
        with pytest.raises(InvalidValue):
            fresh.find_leaf(leaf_of("1"))
        assert ours in fresh.unreadable()[0]
    store.write(place, whole)
    _read_all(RoundStore(store, TARGET), ours)
    assert RoundStore(store, TARGET).find_leaf(leaf_of("1")) == ours


def _read_all(rounds: RoundStore, round_id: str) -> None:
    rounds.candidates(round_id)
    rounds.closed(round_id)
    rounds.late_joiners(round_id)


def test_a_final_round_whose_candidates_are_gone_still_keeps_its_leaves(
    rounds: RoundStore, store: LocalStore
) -> None:
    identity = signed(rounds, "1")
    rounds.close(identity, closed(RoundOutcome.FINAL, sequence=7))
    store.delete(f"{rounds.folder}/{identity}/candidate-0.json")
    with pytest.raises(InvalidValue, match="an end and no candidate"):
        RoundStore(store, TARGET).find_leaf(leaf_of("1"))
    rounds.resolve(identity, decided(Decision.FORGOTTEN))
    assert RoundStore(store, TARGET).find_leaf(leaf_of("1")) is None


def test_a_round_that_can_not_be_read_is_open_no_more_once_it_is_given_up(
    rounds: RoundStore, store: LocalStore
) -> None:
    identity, other = signed(rounds, "1"), signed(rounds, "2", sequence=8)
    store.write(f"{rounds.folder}/{identity}/manifest.json", b"{")
    views = [RoundStore(store, TARGET) for _ in range(2)]  # whoever made it knows it still
    for view in views:
        assert view.open_rounds() == [other]
        assert len(view.unreadable()) == 1
    rounds.resolve(identity, decided(Decision.FORGOTTEN))
    for view in views:
        assert view.open_rounds() == [other]
        assert view.unreadable() == []


def test_a_round_whose_folder_a_listing_leaves_out_is_still_open(
    tmp_path: Path,
) -> None:
    store = Hiding(tmp_path)
    rounds = RoundStore(store, TARGET)
    identity = signed(rounds, "1")
    assert rounds.open_rounds() == [identity]
    store.hidden = rounds.folder
    signed(RoundStore(store, TARGET), "2", sequence=8)
    assert rounds.open_rounds() == [identity]
    assert rounds.highest_sequence("a") == 7


def test_a_round_that_was_given_up_for_a_malformed_end_holds_nothing_back(
    rounds: RoundStore, store: LocalStore
) -> None:
    identity = signed(rounds, "1")
    store.write(f"{rounds.folder}/{identity}/closed.json", b"{")
    with pytest.raises(InvalidValue, match=r"closed\.json"):
        RoundStore(store, TARGET).find_leaf(leaf_of("1"))
    rounds.resolve(identity, decided(Decision.FORGOTTEN))
    assert RoundStore(store, TARGET).find_leaf(leaf_of("1")) is None


# --- decisions


def decided(decision: Decision, tx_ref: str = "") -> Resolved:
    at = datetime(2026, 1, 15, tzinfo=UTC)
    reservation = candidate(0).reservation if decision is not Decision.FORGOTTEN else None
    return Resolved(
        decision=decision, tx_ref=tx_ref, by="ops", decided_at=at, reservation=reservation
    )


def test_a_round_is_not_given_up_beside_an_adoption_that_was_not_asked_about(
    rounds: RoundStore,
) -> None:
    identity = signed(rounds, "1")
    rounds.resolve(identity, decided(Decision.ADOPTED, "0xbb"))
    with pytest.raises(InvalidValue, match="adopted 0xbb at the same time"):
        rounds.resolve(identity, decided(Decision.LOST), {"0x0"})
    rounds.resolve(identity, decided(Decision.LOST), {"0x0", "0xbb"})


def test_the_same_decision_from_two_terminals_is_one_and_no_refusal(
    rounds: RoundStore, store: LocalStore
) -> None:
    identity = signed(rounds, "1")
    places = {rounds.resolve(identity, decided(Decision.LOST), {"0x0"}) for _ in range(2)}
    assert places == {f"{rounds.folder}/{identity}/resolved.json"}
    assert len(rounds.resolutions(identity)) == 1


def test_a_decision_that_is_gone_before_a_later_one_is_missed(
    rounds: RoundStore, store: LocalStore
) -> None:
    identity = signed(rounds, "1")
    rounds.resolve(identity, decided(Decision.ADOPTED, "0xbb"))
    rounds.resolve(identity, decided(Decision.LOST), {"0x0", "0xbb"})
    store.delete(f"{rounds.folder}/{identity}/resolved.json")
    with pytest.raises(InvalidValue, match=r"resolved\.json is missing"):
        rounds.is_given_up(identity, candidate(0).reservation)
