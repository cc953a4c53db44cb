"""Judges a system from outside: by its files and by what the ledgers themselves say.

Nothing of the product is imported here, so that a fault of its code can't hide from its own judge.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.judge.ledgers import Authority, Bitcoin, Evm, View
from tests.judge.proofs import proven_root

Document = dict[str, Any]


class Judge:
    """Reads a root that `starter.py dev` announced, and asks the ledgers that it names."""

    def __init__(self, root: Path, owed: Mapping[str, Sequence[str]]) -> None:
        """Judge a root; `owed` are each namespace's targets, as its configuration names them."""
        self.root, self.owed = root, owed
        announced = json.loads((root / "devnet.json").read_text())
        evm, network = announced["evm"], announced["btc"]["network"]
        self.chains = {
            f"eip155:{evm['chain_id']}": Evm(evm["rpc"], evm["contract"]),
            f"btc:{network}": Bitcoin(announced["btc"]["rpc"]),
        }
        self._authority = Authority(root / announced["tsa"]["ca"])

    # --- verdicts --------------------------------------------------------------------------------

    def findings(self, *, final: bool = False) -> list[str]:
        """Return everything that is wrong; nothing, if each batch is anchored once on each ledger and nothing else is paid.

        Raises:
            OSError: a ledger does not answer.
            ValueError: a ledger answers with an error; it may have moved on meanwhile.
        """
        views = {target: chain.view() for target, chain in self.chains.items()}
        receipts = self.receipts()
        return [
            *self._of_batches(receipts, views, self.batches(), final=final),
            *self._of_payments(receipts, views),
            *self._of_rounds(views),
        ]

    def findings_of(self, *batch_ids: str, on: Collection[str] = ()) -> list[str]:
        """Return what is wrong with some batches, whatever becomes of others; of `on` alone, no other ledger is asked."""
        asked = {target: chain for target, chain in self.chains.items() if not on or target in on}
        views = {target: chain.view() for target, chain in asked.items()}
        batches = {name: batch for name, batch in self.batches().items() if name in batch_ids}
        return list(self._of_batches(self.receipts(), views, batches, final=False, on=on))

    def unremembered(self) -> list[str]:
        """Return the final receipts that the Remembrancer has no row of, or another one than it should.

        Raises:
            sqlite3.Error: it can't be read.
        """
        place = self.root / "ops/data/remembrancer.db"
        with closing(sqlite3.connect(f"file:{place}?mode=ro", uri=True, timeout=1.0)) as database:
            rows = dict(database.execute("SELECT id, hash FROM memories").fetchall())
        return [
            f"no row {key} with its root"
            for receipt in self.receipts().values()
            if receipt["finality"]["state"] == "finalized"
            and rows.get(key := _row_of(receipt)) != receipt["root"][2:]
        ]

    # --- files -----------------------------------------------------------------------------------

    def batches(self) -> dict[str, Document]:
        return {
            batch["id"]: batch
            for batch in map(_read, sorted((self.root / "out/batches").glob("*.json")))
        }

    def receipts(self) -> dict[tuple[str, str, str], Document]:
        """Return the anchor receipts by namespace, batch and target."""
        receipts: dict[tuple[str, str, str], Document] = {}
        for place in sorted((self.root / "out/anchors").rglob("*.json")):
            if place.is_file():
                receipt = _read(place)
                owner = receipt["metadata"]
                key = (owner["namespace"], owner["batchId"], receipt["network"])
                if key in receipts:
                    message = f"two receipts of {key}"
                    raise ValueError(message)
                receipts[key] = receipt
        return receipts

    # --- batches and their receipts --------------------------------------------------------------

    def _of_batches(
        self,
        receipts: Mapping[tuple[str, str, str], Document],
        views: Mapping[str, View],
        batches: Mapping[str, Document],
        *,
        final: bool,
        on: Collection[str] = (),
    ) -> Iterator[str]:
        for batch_id, batch in batches.items():
            namespace = batch["namespace"]
            for target in self.owed[namespace]:
                if on and target not in on:
                    continue
                receipt = receipts.get((namespace, batch_id, target))
                for doubt in self._doubts(receipt, batch, views.get(target), final=final):
                    yield f"batch {batch_id} of {namespace} on {target}: {doubt}"

    def _doubts(
        self, receipt: Document | None, batch: Document, view: View | None, *, final: bool
    ) -> list[str]:
        if receipt is None:
            return ["there is no receipt"]
        state = (receipt["status"], receipt["finality"]["state"])
        allowed = {("verified", "finalized")} | (set() if final else {("verified", "observed")})
        if state not in allowed:
            return [f"its receipt is {state}"]
        try:
            commitment = _commitment_of(receipt, batch)
            if view is None:
                return self._authority.doubts(receipt, commitment)
            doubts = _against(view, receipt, commitment)
            return doubts or self.chains[receipt["network"]].doubts(receipt, commitment)
        except (LookupError, ValueError) as error:
            return [f"{type(error).__name__}: {error}"]

    # --- what else the ledgers hold --------------------------------------------------------------

    def _of_payments(
        self, receipts: Mapping[tuple[str, str, str], Document], views: Mapping[str, View]
    ) -> Iterator[str]:
        """Yield each transaction and each commitment that no receipt names."""
        for target, view in views.items():
            ours = [receipt for receipt in receipts.values() if receipt["network"] == target]
            named = {receipt["txRef"] for receipt in ours}
            for tx in sorted(view.payments - named):
                yield f"{target}: no receipt names transaction {tx}"
            committed = {_claimed(receipt) for receipt in ours}
            for value, times in Counter(each.value for each in view.commitments).items():
                if times != 1 or value not in committed:
                    yield f"{target}: {value} is in the ledger {times} times; by receipts: {value in committed}"

    def _of_rounds(self, views: Mapping[str, View]) -> Iterator[str]:
        """Yield each root that several rounds took to one ledger."""
        roots: Counter[tuple[str, str, str]] = Counter()
        for place in sorted((self.root / "out/rounds").glob("*/*/manifest.json")):
            manifest = _read(place)
            target = manifest["target"]
            if target in views:
                values = {each.value for each in views[target].commitments}
                taken = manifest["commitment"] in values
            else:
                taken = any(place.parent.glob("*.tsr"))
            if taken:
                leaves = manifest["leaves"]
                roots.update((target, leaf["batchId"], leaf["root"]) for leaf in leaves)
        for (target, batch_id, root), times in roots.items():
            if times != 1:
                yield f"{target}: {times} rounds took {root} of batch {batch_id} there"


def _read(place: Path) -> Document:
    document: Document = json.loads(place.read_text())
    return document


def _row_of(receipt: Document) -> str:
    owner = receipt["metadata"]
    return f"anchor:{receipt['network']}:{owner['namespace']}:{owner['batchId']}"


def _claimed(receipt: Document) -> str:
    """Return the commitment that a receipt claims."""
    proof = receipt["evidence"]["aggregation"]
    return str(receipt["root"] if proof is None else proof["root"])


def _commitment_of(receipt: Document, batch: Document) -> str:
    """Return what must be in the ledger for a batch.

    Raises:
        ValueError: the receipt is of another batch or root, or its proof does not lead to what it claims.
    """
    root = "0x" + batch["root"].removeprefix("sha256:")
    proof = receipt["evidence"]["aggregation"]
    if receipt["root"] != root:
        message = f"its root is {receipt['root']}, and the batch's is {root}"
        raise ValueError(message)
    if proof is None:
        return root
    leaf = proof["leaf"]
    owner = (leaf["batchId"], leaf["namespace"], leaf["root"])
    if owner != (batch["id"], batch["namespace"], root):
        message = f"its proof is of {owner}"
        raise ValueError(message)
    if (proven := proven_root(proof)) != proof["root"]:
        message = f"its proof leads to {proven}, and not to {proof['root']}"
        raise ValueError(message)
    return proven


def _against(view: View, receipt: Document, commitment: str) -> list[str]:
    """Return where a chain shows a commitment otherwise than a receipt does."""
    at = [each for each in view.commitments if each.value == commitment]
    if len(at) != 1:
        return [f"its commitment {commitment} is in the ledger {len(at)} times"]
    (seen,) = at
    scheme = receipt["network"].partition(":")[0]
    shown_hash = receipt["evidence"]["evm" if scheme == "eip155" else scheme]["blockHash"]
    final, needed = receipt["finality"], receipt["finality"]["requiredDepth"]
    holds = {
        f"it is in transaction {seen.tx}": receipt["txRef"] == seen.tx,
        f"it is in block {seen.block}": receipt["blockNumber"] == seen.block,
        f"its block is {seen.block_hash}": shown_hash == seen.block_hash,
        f"its block's time is {seen.time}": datetime.fromisoformat(receipt["anchorTs"])
        == seen.time,
        f"it is final at depth {seen.depth} of {needed}": final["state"] != "finalized"
        or seen.depth >= needed,
    }
    return [doubt for doubt, is_right in holds.items() if not is_right]
