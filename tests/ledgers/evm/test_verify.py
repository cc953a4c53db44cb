"""Each way in which a receipt's claim can be wrong fails its own line."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.ledgers.evm.chain import Chain, Submitter, open_submitter
from tests.ledgers.evm.conftest import MakeSubmitter
from vaultmesh.ledgers.driver import Claim

pytestmark = pytest.mark.evm
Twist = Callable[[Claim], Claim]


def with_evidence(**changes: str) -> Twist:
    """Return a twist of evidence fields."""
    return lambda claim: replace(claim, evidence={**claim.evidence, **changes})


async def true_claim(chain: Chain, submitter: Submitter) -> Claim:
    """Anchor a round until final and return what its receipt claims."""
    watched = await submitter.anchor()
    await chain.mine(6)
    view = await submitter.look(watched)
    assert view.final
    evidence = await submitter.target.evidence(
        watched, view, submitter.raw_of(watched, view.tx_ref)
    )
    return Claim(
        commitment=watched.commitment.digest,
        tx_ref=evidence.tx_ref,
        block_number=evidence.block_number,
        anchor_ts=evidence.anchor_ts,
        required_depth=2,
        evidence=evidence.scheme,
    )


async def failed_lines(submitter: Submitter, claim: Claim) -> set[str]:
    """Return the names of the checks that fail."""
    return {check.name for check in await submitter.target.verify(claim) if not check.passed}


async def test_a_true_claim_passes_every_line(chain: Chain, submitter: Submitter) -> None:
    assert await failed_lines(submitter, await true_claim(chain, submitter)) == set()


@pytest.mark.parametrize(
    ("twist", "lines"),
    [
        (lambda claim: replace(claim, commitment=b"\1" * 32), {"root", "batch id"}),
        (with_evidence(batchId="0x" + "11" * 32), {"batch id"}),
        (with_evidence(contract="0x" + "11" * 20), {"contract"}),
        (with_evidence(rawTransaction="0x02"), {"raw transaction"}),
        (
            with_evidence(blockHash="0x" + "11" * 32),
            {"block", "canonical", "depth", "finality"},
        ),
        (
            lambda claim: replace(claim, anchor_ts=claim.anchor_ts + timedelta(seconds=1)),
            {"timestamp"},
        ),
        (lambda claim: replace(claim, required_depth=99), {"depth"}),
    ],
)
async def test_each_false_claim_fails_its_own_lines(
    chain: Chain, submitter: Submitter, twist: Twist, lines: set[str]
) -> None:
    assert await failed_lines(submitter, twist(await true_claim(chain, submitter))) == lines


async def test_a_claim_of_another_block_fails(chain: Chain, submitter: Submitter) -> None:
    claim = await true_claim(chain, submitter)
    lines = await failed_lines(submitter, replace(claim, block_number=claim.block_number + 1))
    assert {"block", "canonical"} <= lines
    assert "transaction" not in lines


async def test_a_reorganised_anchor_is_told_apart(chain: Chain, submitter: Submitter) -> None:
    claim = await true_claim(chain, submitter)
    await chain.reorganise(7)
    lines = await failed_lines(submitter, claim)
    assert {"transaction", "canonical", "finality"} <= lines
    assert "raw transaction" not in lines


async def test_a_contract_other_than_the_configured_one_fails(
    chain: Chain, submitter: Submitter, make_submitter: MakeSubmitter
) -> None:
    claim = await true_claim(chain, submitter)
    other = await make_submitter(contract="0x" + "11" * 20)
    assert {"contract", "root"} <= await failed_lines(other, claim)


async def test_a_node_of_another_chain_proves_nothing(
    chain: Chain, submitter: Submitter, key: str
) -> None:
    claim = await true_claim(chain, submitter)
    other = open_submitter([chain.url], chain.contract, key, chain_id=1)
    assert await failed_lines(other, claim) == {"chain id"}
    await other.target.close()


async def test_verification_needs_no_key(chain: Chain, submitter: Submitter) -> None:
    claim = await true_claim(chain, submitter)
    keyless = open_submitter([chain.url], chain.contract, None)
    assert await failed_lines(keyless, claim) == set()
    await keyless.target.close()
