"""One Merkle root, two texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.roots import BatchRoot, MerkleRoot, ReceiptRoot

DIGESTS = st.binary(min_size=32, max_size=32)


class Both(BaseModel):
    batch: BatchRoot
    receipt: ReceiptRoot
    plain: MerkleRoot


@given(DIGESTS)
def test_parsing_what_was_written_gives_the_same_root(digest: bytes) -> None:
    root = MerkleRoot(digest)
    assert MerkleRoot.parse(root.batch_form) == root == MerkleRoot.parse(root.receipt_form)
    assert MerkleRoot.parse_batch_form(str(root).upper()) == root
    assert MerkleRoot.parse_receipt_form("0x" + digest.hex().upper()) == root


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "ab" * 32,
        "sha256:" + "ab" * 31,
        "sha256:" + "ab" * 33,
        "sha256:" + "gg" * 32,
        "0x" + "ab" * 31,
        "0X" + "ab" * 32,
        " 0x" + "ab" * 32,
        "sha256:" + "ab" * 32 + "\n",
        None,
        7,
    ],
)
def test_anything_else_is_refused(text: object) -> None:
    with pytest.raises(InvalidValue):
        MerkleRoot.parse(text)


@given(st.binary(max_size=64).filter(lambda digest: len(digest) != 32))
def test_another_length_is_refused(digest: bytes) -> None:
    with pytest.raises(InvalidValue, match="32 bytes"):
        MerkleRoot(digest)


@given(DIGESTS)
def test_models_read_and_write_each_form_in_its_place(digest: bytes) -> None:
    root = MerkleRoot(digest)
    both = Both(batch=root, receipt=root, plain=root)
    assert both.model_dump() == {
        "batch": root.batch_form,
        "receipt": root.receipt_form,
        "plain": root.receipt_form,
    }
    assert Both.model_validate_json(both.model_dump_json()) == both


def test_a_model_of_ours_refuses_the_other_form_and_capitals() -> None:
    root = MerkleRoot(bytes(31) + b"\xab")
    upper = "0x" + root.digest.hex().upper()
    for fields in (
        {"batch": root.receipt_form, "receipt": root.receipt_form},
        {"batch": root.batch_form, "receipt": root.batch_form},
        {"batch": root.batch_form, "receipt": upper},
    ):
        with pytest.raises(ValidationError):
            Both.model_validate({**fields, "plain": root})
