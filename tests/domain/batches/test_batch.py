"""Batch files, VaultMesh's and ours."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.batches import tree
from vaultmesh.domain.batches.batch import (
    Batch,
    Refused,
    batch_document,
    named_namespace,
    parse_batch,
)
from vaultmesh.domain.errors import LONGEST_MESSAGE, DomainError, InvalidValue
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import ReportFailure
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.target import Target

ROOT = "sha256:50298939464ed02cbf2b587250a55746b3422e133ac4f09b7e2b07869023bc9e"
LEAVES = [
    "sha256:8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8",
    "sha256:f44e64e75f3948e9f73f8dfa94721c4ce8cbb4f265c4790c702b2d41cfbf2753",
    "sha256:be9d587defa1f0c09ef49eb17e206983a5f8f8289e4281860bd0ee5a19592c67",
]
FILE = {"id": "1761300000", "createdAt": 1761300000, "root": ROOT, "leaves": LEAVES}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def parse(**changes: object) -> Batch:
    document = {key: value for key, value in {**FILE, **changes}.items() if value is not ...}
    return parse_batch(json.dumps(document), name="1761300000")


def test_a_file_of_vaultmesh_is_read() -> None:
    batch = parse()
    assert batch.root == MerkleRoot.parse(ROOT)
    assert [leaf.batch_form for leaf in batch.leaves] == LEAVES
    assert (batch.created_at, batch.namespace, batch.events) == (1761300000, "", ())


def test_a_hand_made_file_needs_only_id_and_root() -> None:
    batch = parse(leaves=..., createdAt=...)
    assert (batch.leaves, batch.created_at) == ((), None)


def test_unknown_keys_and_hex_of_any_case_are_accepted() -> None:
    assert parse(root=ROOT.upper(), more={"any": 1}) == parse()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": "999"}, "named '1761300000'"),
        ({"id": ...}, "named '1761300000'"),
        ({"id": 1761300000}, "named '1761300000'"),
        ({"root": ...}, "root: "),
        ({"root": ROOT[7:]}, "root: "),
        ({"root": LEAVES[0]}, "does not match its leaves"),
        ({"leaves": LEAVES[::-1]}, "does not match its leaves"),
        ({"leaves": []}, "at least one"),
        ({"leaves": "x"}, "at least one"),
        ({"leaves": [LEAVES[0], "x"]}, r"leaves\[1\]: "),
        ({"createdAt": "2026-01-15T10:00:00Z"}, "createdAt"),
        ({"createdAt": True}, "createdAt"),
        ({"createdAt": -1}, "createdAt"),
        ({"createdAt": None}, "createdAt"),
        ({"namespace": 7}, "namespace"),
        ({"events": ["a", "b"]}, "names 2 events, but there are 3 leaves"),
        ({"events": ["a", "b", 3]}, "not a list of event ids"),
        ({"leaves": ..., "events": ["a"]}, "0 leaves"),
    ],
)
def test_an_inconsistent_file_is_refused_with_the_reason(
    changes: dict[str, object], says: str
) -> None:
    with pytest.raises(InvalidValue, match=says):
        parse(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "x" * 10_000},
        {"id": ["x" * 10_000]},
        {"root": "x" * 10_000},
        {"leaves": ["x" * 10_000]},
        {"createdAt": "x" * 10_000},
        {"createdAt": -(10**4_000)},
        {"namespace": ["x" * 10_000]},
        {"events": ["x" * 10_000]},
    ],
)
def test_a_refusal_is_short_whatever_the_file_holds(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse(**changes)
    assert len(str(refused.value)) < 250


def test_a_refusal_can_be_sent_whatever_the_file_is_called() -> None:
    name = os.fsdecode(b"out/batches/caf\xe9.json")
    line = str(Refused(name, str(InvalidValue(f"{name} is odd"))))
    assert line == r"out/batches/caf\udce9.json: out/batches/caf\udce9.json is odd"
    report = ReportFailure(
        target=Target.parse("eip155:1"), requests=[], kind=FailureKind.VALIDATION, message=line
    )
    assert ReportFailure.model_validate_json(report.model_dump_json()).message == line
    assert str(DomainError(name)) == r"out/batches/caf\udce9.json"
    for long in (Refused(name * 100, "odd"), Refused(name, "odd " * 1_000)):
        assert len(str(long)) == LONGEST_MESSAGE
        assert str(long).endswith("…")


@pytest.mark.parametrize("text", ["", "{", "[]", "7", b"\xff\xfe", "[" * 100_000])
def test_what_is_no_json_object_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidValue, match="not"):
        parse_batch(text, name="1")


@given(
    st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=9, unique=True),
    st.none() | st.integers(0, 2**40),
    st.just("") | TEXTS,
    st.booleans(),
)
def test_parsing_what_was_written_gives_the_same_batch(
    leaves: list[bytes], created_at: int | None, namespace: str, with_events: bool
) -> None:
    batch = Batch(
        id="17",
        root=MerkleRoot(tree.root(leaves)),
        leaves=tuple(map(MerkleRoot, leaves)),
        created_at=created_at,
        namespace=namespace,
        events=tuple(f"e{n}" for n in range(len(leaves))) if with_events else (),
    )
    text = batch_document(batch)
    assert parse_batch(text, name="17") == parse_batch(text.encode(), name="17") == batch


def test_the_writer_indents_by_two_and_ends_without_a_newline() -> None:
    text = batch_document(parse(namespace="dao:é"))
    assert text.startswith('{\n  "id": "1761300000",\n  "createdAt": 1761300000,')
    assert text.endswith("}")
    assert "dao:é" in text


def test_a_refused_file_still_says_whose_it_is() -> None:
    assert named_namespace('{"namespace": "dao:x", "root": 1}') == "dao:x"
    assert named_namespace("{") == ""
