"""Finds the rounds that may hold a leaf, over all manifests of a target.

1. It is built at the first question and then grows with the rounds that are noted.
2. A manifest is in it wholly, or waits and is read at the next question: a failure loses no leaf.
3. It takes 12 bytes a leaf and says "may": the reader checks the manifest.
4. Some manifests that were read are looked at again in turn: a file may be damaged later.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from pydantic_core import from_json

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.leaf import Leaf
from vaultmesh.domain.rounds.manifest import round_id
from vaultmesh.domain.target import Target
from vaultmesh.storage.files import Store
from vaultmesh.storage.folder_index import FolderIndex, Look

MOST_RECENT = 4_096
"""Leaves kept beside the sorted part before they are merged into it."""
_KEY_BYTES = 8
_TAKEN = Look("")


class LeafIndex:
    """Leaves of one target's manifests; used by any thread."""

    def __init__(self, store: Store, target: Target, folder: str, manifest_name: str) -> None:
        """Read nothing before the first question."""
        self._store = store
        self._target = target
        self._manifest_name = manifest_name
        self._index = FolderIndex(store, folder, self._look)
        self._rounds: list[str] = []
        self._taken: set[str] = set()
        self._keys = array("Q")
        self._places = array("L")
        self._recent: dict[int, list[int]] = {}

    def note(self, identities: Iterable[str]) -> None:
        """Take rounds in at the next question."""
        with self._index.lock:
            known = self._index.known
            self._index.note(identity for identity in identities if identity not in known)

    def rounds_with(self, leaf: Leaf) -> list[str]:
        """Return the rounds that may hold a leaf.

        Raises:
            NetworkFailure: a manifest that waits can't be read, so that the answer is not known.
        """
        key = _key(leaf)
        with self._index.lock:
            self._read_waiting()
            places = list(self._recent.get(key, ()))
            position = bisect_left(self._keys, key)
            while position < len(self._keys) and self._keys[position] == key:
                places.append(self._places[position])
                position += 1
            return [self._rounds[place] for place in places]

    def has_taken(self, identity: str) -> bool:
        """Say whether a manifest's leaves are known, whatever became of the file since."""
        with self._index.lock:
            return identity in self._taken

    def unread(self, again: int) -> dict[str, str]:
        """Return the rounds whose manifest is missing or can't be read, and why; each is tried again every time.

        So many of those that were read are looked at once more.
        """
        with self._index.lock:
            self._look_again(again)
            self._read_waiting()
            unsettled = sorted(self._index.unsettled.items())
            return {identity: look.value for identity, look in unsettled}

    def _look_again(self, count: int) -> None:
        """Have manifests that don't hold leaves any more read again; what they held stays known."""
        for identity in self._index.in_turn(count):
            try:
                self._leaves(identity)
            except InvalidValue:
                self._index.note([identity])

    def _read_waiting(self) -> None:
        try:
            self._index.look()
        finally:
            if len(self._recent) > MOST_RECENT:
                self._merge()

    def _look(self, identity: str) -> Look[str]:
        """Take a manifest's leaves in, all or none; else returns why, and another look follows."""
        try:
            keys = [_key(leaf) for leaf in self._leaves(identity)]
        except InvalidValue as error:
            return Look(str(error), is_settled=False)
        place = len(self._rounds)
        self._rounds.append(identity)
        self._taken.add(identity)
        for key in keys:
            self._recent.setdefault(key, []).append(place)
        return _TAKEN

    def _leaves(self, identity: str) -> list[Leaf]:
        """Read a manifest's leaves; that they give its commitment is not checked: it would take minutes at first.

        Raises:
            InvalidValue: it is missing, or none, or another round's, or leaves are missing.
        """
        content = self._store.read(f"{self._index.path}/{identity}/{self._manifest_name}")
        if content is None:
            message = f"{self._manifest_name} is missing"
            raise InvalidValue(message)
        try:
            document = from_json(content)
            commitment = MerkleRoot.parse_receipt_form(document["commitment"])
            leaves = [_leaf(entry) for entry in document["leaves"]]
            shape = document["aggregation"]
            is_whole = len(leaves) == shape["treeSize"] if shape else bool(leaves)
        except (ValueError, TypeError, KeyError, LookupError) as error:
            message = f"not a manifest ({error!r}); restore it from a backup"
            raise InvalidValue(message) from error
        named = round_id(self._target, commitment.digest)
        if named != identity:
            message = f"it is the manifest of round {named}; restore it from a backup"
            raise InvalidValue(message)
        if not is_whole or not (shape or all(leaf.root == commitment for leaf in leaves)):
            message = "leaves of it are missing or changed; restore it from a backup"
            raise InvalidValue(message)
        return leaves

    def _merge(self) -> None:
        pairs = list(zip(self._keys, self._places, strict=True))
        pairs += [(key, place) for key, places in self._recent.items() for place in places]
        pairs.sort()
        self._keys = array("Q", [key for key, _ in pairs])
        self._places = array("L", [place for _, place in pairs])
        self._recent.clear()


def _key(leaf: Leaf) -> int:
    parts = (leaf.namespace.encode(), leaf.batch_id.encode(), leaf.root.digest)
    digest = blake2b(digest_size=_KEY_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(4, "big") + part)
    return int.from_bytes(digest.digest(), "big")


def _leaf(entry: Mapping[str, object]) -> Leaf:
    root = MerkleRoot.parse_receipt_form(str(entry["root"]))
    return Leaf(str(entry["namespace"]), str(entry["batchId"]), root)
