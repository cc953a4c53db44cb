"""What is decided before a signature: the right chain, the right nonce, enough money, no secret in any text."""

import logging
import secrets

import pytest

from tests.ledgers.evm.chain import Chain, Submitter, foreign_transfer, open_submitter
from tests.ledgers.evm.conftest import MakeSubmitter
from tests.simulators.evm import LyingProvider
from vaultmesh.domain.aggregator.ledger_messages import RoundState, Verdict
from vaultmesh.domain.failures import AuthFailure, NetworkFailure, ValidationFailure
from vaultmesh.ledgers.driver import StaleCaller
from vaultmesh.ledgers.evm.anchor_contract import batch_id_of

pytestmark = pytest.mark.evm


async def test_a_reservation_holds_all_that_the_signature_covers(
    chain: Chain, submitter: Submitter
) -> None:
    root = bytes.fromhex("50298939464ed02cbf2b587250a55746b3422e133ac4f09b7e2b07869023bc9e")
    watched = await submitter.sign("1761300000", root)
    fields = watched.reservation.fields
    assert (fields["chainId"], fields["nonce"], fields["type"], fields["value"]) == (31337, 0, 2, 0)
    assert fields["data"] == (
        "0x131b5b07"
        + root.hex()
        + "f110e3c75960b479f915c10713f557d919fb19b694e83cd1389e98142944ce23"
        + "80".zfill(64)
        + "0" * 128
    )
    assert fields["genesis"] == (await chain.rpc("eth_getBlockByNumber", "0x0", False))["hash"]
    assert 25_190 < int(str(fields["gas"])) < 32_000


async def test_the_batch_id_is_the_keccak_hash_of_the_label() -> None:
    assert batch_id_of("1761300000").hex().startswith("f110e3c75960b479")


async def test_another_chain_id_is_refused_before_anything_is_signed(
    chain: Chain, key: str
) -> None:
    await chain.fund(key)
    submitter = open_submitter([chain.url], chain.contract, key, chain_id=8453)
    with pytest.raises(ValidationFailure, match="serves chain 31337, not eip155:8453"):
        await submitter.sign()
    await submitter.target.close()


async def test_another_genesis_is_refused(submitter: Submitter) -> None:
    await submitter.anchor()
    assert submitter.last is not None
    submitter.last = submitter.last.model_copy(
        update={"fields": submitter.last.fields | {"genesis": "0x" + "22" * 32}}
    )
    with pytest.raises(ValidationFailure, match="genesis"):
        await submitter.sign()


async def test_an_address_without_code_is_refused(make_submitter: MakeSubmitter) -> None:
    nowhere = "0x" + "12" * 20
    with pytest.raises(ValidationFailure, match=f"(?i)no contract at {nowhere}"):
        await (await make_submitter(contract=nowhere)).sign()


async def test_an_account_without_money_is_named_with_what_it_needs(
    chain: Chain, submitter: Submitter, key: str
) -> None:
    address = await chain.fund(key)
    await chain.rpc("anvil_setBalance", address, "0x5")
    with pytest.raises(AuthFailure, match=f"{address} holds 0.000000000000000005 ether"):
        await submitter.sign()


async def test_a_probe_shows_when_an_account_was_funded(
    chain: Chain, submitter: Submitter, key: str
) -> None:
    address = await chain.fund(key)
    await chain.rpc("anvil_setBalance", address, "0x5")
    poor = await submitter.target.probe()
    assert await submitter.target.probe() == poor
    await chain.fund(key)
    assert await submitter.target.probe() != poor


async def test_no_money_after_signing_is_a_failure_that_names_the_account(
    chain: Chain, submitter: Submitter, key: str
) -> None:
    watched = await submitter.sign()
    address = await chain.fund(key)
    await chain.rpc("anvil_setBalance", address, "0x5")
    with pytest.raises(AuthFailure, match=f"top up {address}"):
        await submitter.rebroadcast(watched)


async def test_a_market_above_our_cap_is_waited_for(make_submitter: MakeSubmitter) -> None:
    submitter = await make_submitter(maxFeePerGasGwei="1.2", maxPriorityFeeGwei=1)
    with pytest.raises(AuthFailure, match="above our cap"):
        await submitter.sign()


async def test_at_the_cap_no_higher_bid_is_made(make_submitter: MakeSubmitter) -> None:
    submitter = await make_submitter(maxFeePerGasGwei=3, maxPriorityFeeGwei=1)
    watched = await submitter.anchor()
    bumped = await submitter.target.bump(
        watched.reservation, submitter.candidates[watched.round_id][0].terms
    )
    assert bumped.terms is None
    assert "cap" in bumped.message


async def test_a_bid_we_cannot_pay_leaves_the_one_we_can(
    chain: Chain, submitter: Submitter, key: str
) -> None:
    watched = await submitter.anchor()
    terms = submitter.candidates[watched.round_id][0].terms
    paid = int(str(watched.reservation.fields["gas"])) * int(str(terms["maxFeePerGas"]))
    await chain.rpc("anvil_setBalance", await chain.fund(key), hex(paid))
    bumped = await submitter.target.bump(watched.reservation, terms)
    assert bumped.terms is None
    assert "insufficient funds" in bumped.message
    assert "top it up" in bumped.message
    assert await submitter.rebroadcast(watched) == Verdict.ACCEPTED
    await chain.mine()
    assert (await submitter.look(watched)).state is RoundState.INCLUDED


async def test_nonces_follow_our_own_record(chain: Chain, submitter: Submitter) -> None:
    for expected in range(3):
        watched = await submitter.anchor()
        assert watched.reservation.sequence == expected
        await chain.mine()


async def test_a_caller_that_is_behind_the_storage_is_told_so(submitter: Submitter) -> None:
    submitter.stored = 0
    with pytest.raises(StaleCaller):
        await submitter.sign()


async def test_a_count_below_our_record_is_a_stale_node(chain: Chain, submitter: Submitter) -> None:
    await submitter.anchor()
    with pytest.raises(NetworkFailure, match="stale node"):
        await submitter.sign()
    await chain.mine()
    await submitter.sign()


async def test_foreign_use_of_the_key_holds_until_it_is_final(
    chain: Chain, submitter: Submitter, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    await submitter.anchor()
    await chain.mine()
    tx_hash = await chain.rpc("eth_sendRawTransaction", foreign_transfer(chain, key, 1))
    await chain.mine()
    with pytest.raises(AuthFailure, match="foreign use of the key"):
        await submitter.sign()
    await chain.mine(4)
    with caplog.at_level(logging.WARNING):
        watched = await submitter.sign()
    assert watched.reservation.sequence == 2
    (record,) = (record for record in caplog.records if "foreign use" in record.message)
    assert record.__dict__["txs"] == tx_hash  # whoever is called looks it up in an explorer


async def test_a_node_that_counts_too_high_gets_no_nonce_beyond_the_chain(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url])
    await submitter.anchor()
    await chain.mine(6)
    proxy.forge("eth_getTransactionCount", lambda _, told: hex(int(str(told), 16) + 7))
    for _ in range(2):
        with pytest.raises(AuthFailure, match="no block shows what used nonce 1"):
            await submitter.sign()
    proxy.obey()
    assert (await submitter.sign()).reservation.sequence == 1


async def test_several_foreign_transactions_are_each_found_before_the_next_nonce_is_taken(
    chain: Chain, submitter: Submitter, key: str
) -> None:
    await submitter.anchor()
    await chain.mine()
    for nonce in (1, 2, 3):
        await chain.rpc("eth_sendRawTransaction", foreign_transfer(chain, key, nonce))
        await chain.mine(2)
    await chain.mine(4)
    assert (await submitter.sign()).reservation.sequence == 4


async def test_providers_that_dispute_the_first_count_give_no_nonce(
    chain: Chain, proxy: LyingProvider, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter([proxy.url, chain.url])
    proxy.forge("eth_getTransactionCount", lambda _, __: "0x7")
    with pytest.raises(NetworkFailure, match="waiting until they agree"):
        await submitter.sign()
    proxy.obey()
    assert (await submitter.sign()).reservation.sequence == 0


async def test_a_changed_key_starts_at_its_own_count_and_signs_nothing_of_the_former(
    chain: Chain, submitter: Submitter, make_submitter: MakeSubmitter
) -> None:
    watched = await submitter.anchor()
    await chain.mine()
    key = "0x" + secrets.token_hex(32)
    await chain.fund(key)
    other = open_submitter([chain.url], chain.contract, key)
    other.last = submitter.last
    assert (await other.sign()).reservation.sequence == 0
    terms = submitter.candidates[watched.round_id][0].terms
    with pytest.raises(AuthFailure, match="the key changed"):
        await other.target.sign(watched.reservation, terms, 1)
    await other.target.close()


async def test_after_a_key_came_back_the_storage_tells_its_next_nonce(
    chain: Chain, submitter: Submitter
) -> None:
    former = (await submitter.anchor()).reservation.model_copy(update={"account": "0x" + "22" * 20})
    submitter.last = former  # of another key, as recovery may find it
    with pytest.raises(NetworkFailure, match="stale node"):
        await submitter.sign()
    await chain.mine()
    submitter.last = former
    assert (await submitter.sign()).reservation.sequence == 1


async def test_bytes_ahead_of_the_accounts_count_wait_in_the_pool(
    chain: Chain, submitter: Submitter
) -> None:
    watched = await submitter.sign()
    fields = watched.reservation.fields | {"nonce": 7}
    later = watched.reservation.model_copy(update={"fields": fields, "sequence": 7})
    candidate = await submitter.target.sign(
        later, submitter.candidates[watched.round_id][0].terms, 0
    )
    await submitter.target.broadcast(later, candidate)
    await chain.mine()
    update = {"tx_refs": [candidate.tx_ref], "reservation": later}
    view = await submitter.look(watched.model_copy(update=update))
    assert view.state is RoundState.PENDING


async def test_bytes_signed_for_another_chain_are_never_taken(chain: Chain, key: str) -> None:
    await chain.fund(key)
    here = open_submitter([chain.url], chain.contract, key)
    watched = await here.sign()
    elsewhere = open_submitter([chain.url], chain.contract, key, chain_id=1)
    terms = here.candidates[watched.round_id][0].terms
    with pytest.raises(ValidationFailure, match="not for eip155:1"):
        await elsewhere.target.sign(watched.reservation, terms, 0)
    foreign = watched.reservation.model_copy(
        update={"fields": watched.reservation.fields | {"chainId": 1}}
    )
    candidate = await elsewhere.target.sign(foreign, terms, 0)
    with pytest.raises(ValidationFailure, match="chain id"):
        await here.target.broadcast(foreign, candidate)
    await here.target.close()
    await elsewhere.target.close()


async def test_neither_texts_nor_forms_show_the_key(submitter: Submitter, key: str) -> None:
    await submitter.anchor()
    with pytest.raises(NetworkFailure) as failure:
        await submitter.sign()
    for text in (
        str(failure.value),
        repr(failure.value),
        repr(submitter.target),
        str(submitter.last),
    ):
        assert key[2:] not in text
