"""Defines the bytes of a leaf of an aggregation tree, and reads its proof.

1. A leaf is (leaf namespace, batch id, root); the leaf namespace is what the batch file names,
   empty if it names none (M4).
2. Its bytes are canonical JSON of `{"batchId", "namespace", "root", "salt"}`; a random salt hides
   it from its neighbours.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from vaultmesh.domain.documents import canonical_json
from vaultmesh.domain.errors import InvalidValue, one_line
from vaultmesh.domain.roots import MerkleRoot, ReceiptRoot
from vaultmesh.domain.rounds import tree

SALT_BYTES = 32
"""Length of a leaf's salt: as unguessable as the root it hides."""

Hex32 = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-f]{64}$")]
"""32 bytes as `0x` and lower-case hex."""
Salt = Hex32


class Document(BaseModel):
    """Base of our own files: camelCase keys, frozen, strict."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, populate_by_name=True, alias_generator=to_camel
    )

    def document(self) -> str:
        """Return the file's text."""
        return self.model_dump_json(by_alias=True, indent=2)


Model = TypeVar("Model", bound=Document)


def read_document(model: type[Model], text: str | bytes) -> Model:
    """Read one of our own files; its keys are those that we write, not the names that our code has for them.

    Raises:
        InvalidValue: says at which key what is wrong.
    """
    try:
        return model.model_validate_json(text, by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidValue(one_line(error, model)) from error


@dataclass(frozen=True, slots=True, order=True)
class Leaf:
    """What is committed at most once on a target."""

    namespace: str
    batch_id: str
    root: MerkleRoot


def leaf_bytes(leaf: Leaf, salt: str) -> bytes:
    """Return the canonical bytes of a leaf; `salt` is `0x` and 64 hex digits."""
    return canonical_json(
        {
            "batchId": leaf.batch_id,
            "namespace": leaf.namespace,
            "root": leaf.root.receipt_form,
            "salt": salt,
        }
    )


class AggregationLeaf(Document):
    """The leaf in a receipt, with everything its bytes need."""

    batch_id: str
    namespace: str
    root: ReceiptRoot
    salt: Salt

    @property
    def leaf(self) -> Leaf:
        """The leaf without its salt."""
        return Leaf(self.namespace, self.batch_id, self.root)

    def hashed(self) -> bytes:
        """Return the leaf hash."""
        return tree.leaf_hash(leaf_bytes(self.leaf, self.salt))


class Aggregation(Document):
    """A receipt's `evidence.aggregation`: the way from a leaf to the commitment."""

    algorithm: Literal["rfc9162-sha256"]
    """Has no default: a proof that names none is none."""
    leaf: AggregationLeaf
    index: int = Field(ge=0)
    tree_size: int = Field(ge=1)
    path: tuple[Hex32, ...] = Field(max_length=tree.DEEPEST, strict=False)
    root: ReceiptRoot

    def proven_root(self) -> MerkleRoot:
        """Return the root that the path leads to.

        Raises:
            InvalidValue: the path fits no tree of that size, or leads to another root than it says.
        """
        path = [bytes.fromhex(node[2:]) for node in self.path]
        digest = tree.root_from_path(self.leaf.hashed(), self.index, self.tree_size, path)
        if digest != self.root.digest:
            message = f"the path leads to 0x{digest.hex()}, not to {self.root.receipt_form}"
            raise InvalidValue(message)
        return self.root
