"""A Bitcoin receipt's claim is checked against the live chain, a line for each way to be wrong."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import JsonValue

from devnet.bitcoind import Bitcoind
from tests.ledgers.bitcoin.chain import BitcoinSubmitter, open_submitter
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.ledgers.driver import Claim

pytestmark = pytest.mark.btc


async def _claim(node: Bitcoind, submitter: BitcoinSubmitter, depth: int = 3) -> Claim:
    watched = await submitter.anchor()
    node.mine(depth)
    view = await submitter.look(watched)
    evidence = await submitter.target.evidence(
        watched, view, submitter.raw_of(watched, view.tx_ref)
    )
    return Claim(
        commitment=watched.commitment.digest,
        tx_ref=evidence.tx_ref,
        block_number=evidence.block_number,
        anchor_ts=evidence.anchor_ts,
        required_depth=3,
        evidence=evidence.scheme,
    )


async def _failed(submitter: BitcoinSubmitter, claim: Claim) -> set[str]:
    return {one.name for one in await submitter.target.verify(claim) if not one.passed}


async def test_a_true_claim_passes_every_line(node: Bitcoind, submitter: BitcoinSubmitter) -> None:
    claim = await _claim(node, submitter)
    checks = await submitter.target.verify(claim)
    assert [one.name for one in checks if not one.passed] == []
    assert len(checks) == 8


async def test_each_wrong_thing_fails_its_line(node: Bitcoind, submitter: BitcoinSubmitter) -> None:
    claim = await _claim(node, submitter)
    other = await _claim(node, submitter)

    def changed(**keys: JsonValue) -> Claim:
        return replace(claim, evidence={**claim.evidence, **keys})

    assert await _failed(submitter, replace(claim, commitment=b"\x07" * 32)) == {"root"}
    assert await _failed(submitter, replace(claim, tx_ref="11" * 32)) == {"transaction"}
    assert await _failed(submitter, replace(claim, block_number=3)) == {"block"}
    late = replace(claim, anchor_ts=claim.anchor_ts + timedelta(seconds=1))
    assert await _failed(submitter, late) == {"timestamp"}
    assert await _failed(submitter, replace(claim, required_depth=99)) == {"depth"}
    assert await _failed(submitter, changed(network="mainnet")) == {"network"}
    assert await _failed(submitter, changed(genesis="11" * 32)) == {"network"}
    forged = await _failed(submitter, changed(rawTransaction=other.evidence["rawTransaction"]))
    assert forged == {"transaction", "root", "merkle branch", "block", "timestamp"}
    elsewhere = changed(header=other.evidence["header"], blockHash=other.evidence["blockHash"])
    assert {"merkle branch", "block"} <= await _failed(submitter, elsewhere)
    assert await _failed(submitter, replace(claim, evidence={})) == {"evidence"}


async def test_a_block_that_was_reorganised_away_is_told(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    claim = await _claim(node, submitter)
    node.reorg(3)
    assert await _failed(submitter, claim) == {"canonical", "depth"}
    lines = {one.name: one.detail for one in await submitter.target.verify(claim)}
    assert "reorganised away" in lines["canonical"]


async def test_a_young_anchor_fails_its_depth_alone(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    assert await _failed(submitter, await _claim(node, submitter, depth=1)) == {"depth"}


async def test_a_pruned_node_will_do_once_the_receipt_is_written(tmp_path: Path) -> None:
    options = ("-prune=1", "-fastprune")
    with Bitcoind(tmp_path, txindex=False, options=options) as node:
        submitter = open_submitter(node.url)
        watched = await submitter.anchor()
        node.mine(3)
        view = await submitter.look(watched)
        raw = submitter.raw_of(watched, view.tx_ref)
        evidence = await submitter.target.evidence(watched, view, raw)
        claim = Claim(
            commitment=watched.commitment.digest,
            tx_ref=evidence.tx_ref,
            block_number=evidence.block_number,
            anchor_ts=evidence.anchor_ts,
            required_depth=3,
            evidence=evidence.scheme,
        )
        for _ in range(4):
            node.mine(300)
        assert node.rpc("pruneblockchain", node.height() - 300) > evidence.block_number
        assert await _failed(submitter, claim) == set()
        assert (await submitter.look(watched)).depth == 1203
        with pytest.raises(NetworkFailure, match="does not have block"):
            await submitter.target.evidence(watched, view, raw)


async def test_another_network_is_not_asked_further(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    claim = await _claim(node, submitter)
    assert await _failed(open_submitter(node.url, reference="signet"), claim) == {"network"}
