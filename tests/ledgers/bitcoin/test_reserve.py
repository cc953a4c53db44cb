"""What is decided before a Bitcoin signature: the right network and wallet, the right output, a fee that fits."""

import base64
import logging
import re
from pathlib import Path

import pytest

from devnet.bitcoind import WALLET, Bitcoind, BitcoinRpc
from devnet.jsonrpc import JsonRpcError
from tests.ledgers.bitcoin.chain import BitcoinSubmitter, open_submitter
from vaultmesh.domain.aggregator.ledger_messages import Reservation, RoundState
from vaultmesh.domain.failures import AnchorError, AuthFailure, NetworkFailure, ValidationFailure
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.bitcoin import driver
from vaultmesh.ledgers.bitcoin.settings import BtcSettings
from vaultmesh.ledgers.driver import StaleCaller

pytestmark = pytest.mark.btc


@pytest.fixture
def node(shared_node: Bitcoind) -> Bitcoind:
    return shared_node


def _wallet(node: Bitcoind, name: str, *options: object) -> BitcoinRpc:
    """Create a wallet and return its endpoint."""
    node.rpc("createwallet", name, *options)
    return BitcoinRpc(f"{node.rpc.url}/wallet/{name}", "vaultmesh", node.password)


def _fund(node: Bitcoind, wallet: BitcoinRpc, btc_amount: float, kind: str = "bech32") -> None:
    node.wallet("sendtoaddress", wallet("getnewaddress", "", kind), btc_amount)
    node.mine()


async def test_a_reservation_holds_all_that_the_signature_covers(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    reservation, terms = await submitter.reserve(bytes(range(32)))
    fields = reservation.fields
    output = node.rpc("gettxout", fields["txid"], fields["vout"])
    assert fields["scriptPubKey"] == output["scriptPubKey"]["hex"] == fields["changeScript"]
    assert fields["amountSats"] == round(output["value"] * 10**8)
    assert fields["network"] == "regtest"
    assert fields["genesis"] == node.rpc("getblockhash", 0)
    assert (fields["height"], fields["commitment"]) == (node.height(), bytes(range(32)).hex())
    assert (reservation.account, reservation.sequence) == (WALLET, 0)
    assert terms == {"feeSats": fields["vsize"]}
    assert fields["vsize"] in {155, 156}


async def test_deciding_twice_decides_the_same_and_locks_nothing(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    assert await submitter.reserve(b"\1" * 32) == await submitter.reserve(b"\1" * 32)
    assert node.wallet("listlockunspent") == []


async def test_a_signature_locks_its_output(node: Bitcoind, submitter: BitcoinSubmitter) -> None:
    watched = await submitter.sign()
    fields = watched.reservation.fields
    assert {"txid": fields["txid"], "vout": fields["vout"]} in node.wallet("listlockunspent")


async def test_the_change_of_a_young_round_is_spent_last(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    first = await submitter.anchor()
    node.mine()
    second = await submitter.sign()
    assert second.reservation.fields["txid"] != first.tx_refs[0]
    assert second.reservation.sequence == 1


@pytest.mark.parametrize("kind", ["legacy", "p2sh-segwit", "bech32", "bech32m"])
async def test_every_kind_of_output_can_pay(node: Bitcoind, kind: str) -> None:
    name = f"kind-{kind}"
    _fund(node, _wallet(node, name), 0.01, kind)
    submitter = open_submitter(node.url, wallet=name)
    watched = await submitter.anchor()
    first = submitter.candidates[watched.round_id][0]
    assert await submitter.target.sign(watched.reservation, first.terms, 0) == first
    entry = node.rpc("getmempoolentry", first.tx_ref)
    fee = round(entry["fees"]["base"] * 10**8)
    # The one that is sent may have a signature 2 bytes shorter than the one that was measured.
    assert entry["vsize"] <= fee <= entry["vsize"] + 3
    node.mine()
    assert (await submitter.look(watched)).depth == 1


async def test_another_network_is_refused(node: Bitcoind) -> None:
    with pytest.raises(ValidationFailure, match=r"serves the chain regtest .* not btc:mainnet"):
        await open_submitter(node.url, reference="mainnet").reserve()


async def test_another_genesis_than_before_is_refused(submitter: BitcoinSubmitter) -> None:
    reservation, _ = await submitter.reserve()
    submitter.last = reservation.model_copy(
        update={"fields": reservation.fields | {"genesis": "22" * 32}}
    )
    submitter.stored = submitter.last.sequence
    with pytest.raises(ValidationFailure, match="another ledger than before"):
        await submitter.reserve()


async def test_a_reservation_of_another_network_is_not_signed(submitter: BitcoinSubmitter) -> None:
    reservation, terms = await submitter.reserve()
    other = reservation.model_copy(update={"fields": reservation.fields | {"network": "mainnet"}})
    with pytest.raises(ValidationFailure, match="is for btc:mainnet"):
        await submitter.target.sign(other, terms, 0)


def test_settings_of_another_network_and_unknown_networks_are_refused() -> None:
    settings = BtcSettings.model_validate({"rpcUrl": "http://127.0.0.1:1", "network": "regtest"})
    with pytest.raises(
        ValidationFailure, match="network is regtest, but the target is btc:mainnet"
    ):
        driver.open_target(Target("btc", "mainnet"), settings, Path())
    settings = BtcSettings.model_validate({"rpcUrl": "http://127.0.0.1:1"})
    with pytest.raises(ValidationFailure, match="btc:moon is no Bitcoin network"):
        driver.open_target(Target("btc", "moon"), settings, Path())


async def test_a_wallet_that_is_not_loaded_is_named(node: Bitcoind) -> None:
    with pytest.raises(AuthFailure, match="the wallet nowhere is not loaded"):
        await open_submitter(node.url, wallet="nowhere").reserve()


async def test_several_wallets_need_a_name(node: Bitcoind) -> None:
    _wallet(node, "second")
    with pytest.raises(AuthFailure, match="several wallets"):
        await open_submitter(node.url, wallet=None).reserve()


async def test_a_locked_wallet_is_named(node: Bitcoind) -> None:
    wallet = _wallet(node, "locked", False, False, "some passphrase")
    _fund(node, wallet, 1)
    with pytest.raises(AuthFailure, match=r"the wallet locked at .* is locked"):
        await open_submitter(node.url, wallet="locked").reserve()
    wallet("walletpassphrase", "some passphrase", 60)
    submitter = open_submitter(node.url, wallet="locked")
    reservation, terms = await submitter.reserve()
    wallet("walletlock")
    with pytest.raises(AuthFailure, match="is locked: unlock it with walletpassphrase"):
        await submitter.target.sign(reservation, terms, 0)


async def test_a_probe_shows_when_a_wallet_is_loaded_funded_and_unlocked(node: Bitcoind) -> None:
    target = open_submitter(node.url, wallet="mended").target
    with pytest.raises(AnchorError, match="not loaded"):
        await target.probe()
    wallet = _wallet(node, "mended", False, False, "some passphrase")
    empty = await target.probe()
    assert await target.probe() == empty
    _fund(node, wallet, 1)
    funded = await target.probe()
    wallet("walletpassphrase", "some passphrase", 60)
    assert len({empty, funded, await target.probe()}) == 3


async def test_a_wallet_without_keys_is_refused(node: Bitcoind) -> None:
    _wallet(node, "watching", True)
    with pytest.raises(AuthFailure, match="has no private keys"):
        await open_submitter(node.url, wallet="watching").reserve()


async def test_an_empty_wallet_is_a_top_up_before_anything_is_sent(node: Bitcoind) -> None:
    _wallet(node, "empty")
    with pytest.raises(AuthFailure, match=r"insufficient funds: the wallet empty .* top it up"):
        await open_submitter(node.url, wallet="empty").reserve()


async def test_change_below_dust_is_a_top_up_before_anything_is_sent(node: Bitcoind) -> None:
    wallet = _wallet(node, "poor")
    _fund(node, wallet, 0.00000440)
    submitter = open_submitter(node.url, wallet="poor")
    with pytest.raises(AuthFailure, match=r"the largest of 0\.00000440 BTC.* top it up"):
        await submitter.reserve()
    _fund(node, wallet, 0.00000460)
    watched = await submitter.anchor()
    assert watched.reservation.fields["amountSats"] == 460
    with pytest.raises(RuntimeError, match="the input pays at most 166 sat"):
        await submitter.bump(watched)


async def test_a_storage_that_knows_more_stops_the_caller(submitter: BitcoinSubmitter) -> None:
    submitter.stored = 4
    with pytest.raises(StaleCaller, match="holds reservation 4, the caller knows -1"):
        await submitter.reserve()


async def test_a_changed_wallet_goes_on_above_all_numbers(
    submitter: BitcoinSubmitter, node: Bitcoind
) -> None:
    submitter.last = Reservation(account="former", sequence=7, fields={})
    reservation, _ = await submitter.reserve()
    assert (reservation.account, reservation.sequence) == (WALLET, 8)


async def test_the_wallet_of_another_key_does_not_sign(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    reservation, terms = await submitter.reserve()
    _wallet(node, "stranger")
    with pytest.raises(AuthFailure, match="has no key of it"):
        await open_submitter(node.url, wallet="stranger").target.sign(reservation, terms, 0)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"feeFloorSatVb": 5, "feeCapSatVb": 4}, "feeFloorSatVb is above feeCapSatVb"),
        ({"feeCapSatVb": 0}, "is not a fee rate"),
        ({"feeFloorSatVb": "1.0005"}, "is not a fee rate"),
        ({"bumpAfter": "0s"}, "is no wait"),
        ({"bumpAfter": "3 blocks"}, "is not a duration"),
        ({"confTarget": 0}, "greater than or equal to 1"),
        ({"confirmations": 0}, "greater than or equal to 1"),
        ({"network": "moon"}, "'mainnet', 'testnet', 'signet' or 'regtest'"),
        ({"feeCap": 4}, "feeCap"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        BtcSettings.model_validate({"rpcUrl": "http://u:hunter2@127.0.0.1:1"} | settings)


async def test_an_output_that_can_pay_higher_bids_comes_before_an_older_small_one(
    node: Bitcoind,
) -> None:
    wallet = _wallet(node, "mixed")
    _fund(node, wallet, 0.00001)
    node.mine(5)
    _fund(node, wallet, 0.01)
    reservation, _ = await open_submitter(node.url, wallet="mixed").reserve()
    assert reservation.fields["amountSats"] == 1_000_000


async def test_floor_and_cap_bound_the_bids(node: Bitcoind) -> None:
    submitter = open_submitter(node.url, feeFloorSatVb="2.5", feeCapSatVb=4)
    watched = await submitter.anchor()
    vsize = int(str(watched.reservation.fields["vsize"]))
    assert submitter.candidates[watched.round_id][0].terms == {"feeSats": -(-5 * vsize // 2)}
    watched = await submitter.bump(watched)
    with pytest.raises(RuntimeError, match=r"fee cap reached.* the cap is 4 sat/vB"):
        await submitter.bump(watched)
    with pytest.raises(AuthFailure, match="relays nothing below"):
        await open_submitter(node.url, feeFloorSatVb="0.001", feeCapSatVb="0.001").reserve()


async def test_wrong_credentials_and_dead_nodes_show_no_password(
    node: Bitcoind, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = node.url.replace(node.password, "hunter2secret")
    with pytest.raises(AuthFailure, match="HTTP 401: check user and password") as refused:
        await open_submitter(wrong).reserve()
    dead = "http://vaultmesh:hunter2secret@127.0.0.1:9/path"
    with pytest.raises(
        NetworkFailure,
        match=r"http://127\.0\.0\.1:9 could not be reached for getblockchaininfo: Connection refused$",
    ) as gone:
        await open_submitter(dead).reserve()
    texts = f"{refused.value}{gone.value}{caplog.text}"
    hidden = base64.b64encode(b"vaultmesh:hunter2secret").decode()
    assert not any(secret in texts for secret in ("hunter2", "/path", hidden))


@pytest.mark.parametrize("name", ["two words", "50% +ä", "a:b@c"])
async def test_a_wallet_of_any_name_is_asked(node: Bitcoind, name: str) -> None:
    _wallet(node, name)
    with pytest.raises(AuthFailure, match=re.escape(f"the wallet {name} at")):
        await open_submitter(node.url, wallet=name).reserve()


async def test_signed_bytes_show_up_in_no_error(
    node: Bitcoind, submitter: BitcoinSubmitter
) -> None:
    watched = await submitter.sign()
    candidate = submitter.candidates[watched.round_id][0]
    broken = candidate.model_copy(update={"raw": candidate.raw[:-2]})
    with pytest.raises(AnchorError) as failure:
        await submitter.target.broadcast(watched.reservation, broken)
    assert candidate.raw[:40] not in str(failure.value)


async def test_a_node_that_makes_no_estimates_gets_a_bid_all_the_same(tmp_path: Path) -> None:
    with Bitcoind(tmp_path, options=("-blocksonly=1",)) as mute:
        submitter = open_submitter(mute.url)
        with pytest.raises(JsonRpcError, match="disabled"):
            mute.rpc("estimatesmartfee", 6)
        assert (await submitter.look(await submitter.anchor())).state is RoundState.PENDING


async def test_a_node_that_relays_no_data_is_told_how_to(tmp_path: Path) -> None:
    with (
        Bitcoind(tmp_path, options=("-datacarrier=0",)) as node_without,
        pytest.raises(ValidationFailure, match="let the node relay data outputs"),
    ):
        await open_submitter(node_without.url).anchor()
