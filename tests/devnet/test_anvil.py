"""A local chain obeys, keeps its blocks, and survives a kill in the middle of a write."""

import json
import stat
from pathlib import Path

import pytest
from eth_account import Account

from devnet.anvil import Anvil
from devnet.chain_state import ChainState
from devnet.errors import PartError
from devnet.jsonrpc import JsonRpcError
from devnet.keys import create_chain_key, load_chain_key

ADDRESS = "0x" + "12" * 20


def _hash(chain: Anvil, number: int) -> str:
    return str(chain.rpc("eth_getBlockByNumber", hex(number), False)["hash"])


@pytest.mark.evm
def test_blocks_come_by_hand_and_the_tags_lie_behind_them(tmp_path: Path) -> None:
    with Anvil(tmp_path, slots_in_an_epoch=2) as chain:
        chain.mine(10)
        heights = [chain.height(tag) for tag in ("latest", "safe", "finalized")]
    assert heights == [10, 8, 6]


@pytest.mark.evm
def test_nobody_has_money_but_who_was_given_some(tmp_path: Path) -> None:
    key = create_chain_key(tmp_path / "keys" / "evm.key")
    with Anvil(tmp_path) as chain:
        chain.fund(key.address)
        assert chain.rpc("eth_accounts") == []
        assert int(chain.rpc("eth_getBalance", key.address, "latest"), 16) > 0
        known = Account.from_key(
            "0x" + "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
        )
        assert int(chain.rpc("eth_getBalance", known.address, "latest"), 16) == 0


@pytest.mark.evm
def test_a_reorg_replaces_the_last_blocks_and_keeps_the_height(tmp_path: Path) -> None:
    with Anvil(tmp_path) as chain:
        chain.mine(6)
        before = [_hash(chain, number) for number in (4, 5, 6)]
        chain.reorg(2)
        after = [_hash(chain, number) for number in (4, 5, 6)]
        chain.roll_back(2)
        assert chain.height() == 4
    assert before[0] == after[0]
    assert not set(before[1:]) & set(after[1:])


@pytest.mark.evm
def test_a_refused_call_carries_the_code_and_text_of_the_node(tmp_path: Path) -> None:
    with Anvil(tmp_path) as chain, pytest.raises(JsonRpcError, match="-32601"):
        chain.rpc("eth_nonsense")


@pytest.mark.evm
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_chain_goes_on_after_its_node_ended(tmp_path: Path, end: str) -> None:
    with Anvil(tmp_path, state=tmp_path / "chain.json") as chain:
        chain.fund(ADDRESS)
        chain.mine(30)
        if end == "kill":
            chain.save()
        block = _hash(chain, 20)
        getattr(chain, end)()
        chain.start()
        assert chain.height() == 30
        assert _hash(chain, 20) == block
        assert int(chain.rpc("eth_getTransactionCount", ADDRESS, "finalized"), 16) == 0
        assert int(chain.rpc("eth_getBalance", ADDRESS, "latest"), 16) > 0
        chain.reorg(10)


@pytest.mark.evm
@pytest.mark.fault
def test_a_kill_in_the_middle_of_a_write_costs_the_last_seconds_only(tmp_path: Path) -> None:
    file = tmp_path / "chain.json"
    with Anvil(tmp_path, state=file) as chain:
        chain.mine(3)
        chain.save()
        chain.stop()
        chain.start()
        chain.mine(2)
        chain.save()
        chain.kill()
        state = ChainState(file)
        assert state.height() == 5
        newest = max(
            (one for one in state.files if one.exists()), key=lambda one: one.stat().st_mtime_ns
        )
        newest.write_bytes(newest.read_bytes()[:100])
        kept = state.height()
        assert kept in (
            3,
            5,
        )  # 5 if a whole second passed since it was saved: both files hold it then
        chain.start()
        assert chain.height() == kept


@pytest.mark.evm
@pytest.mark.fault
def test_a_chain_survives_many_kills_at_any_moment(tmp_path: Path) -> None:
    with Anvil(tmp_path, state=tmp_path / "chain.json") as chain:
        chain.mine(200)
        chain.save()
        for _ in range(10):
            chain.kill()
            chain.start()
            assert chain.height() >= 200
            chain.mine(20)


def test_a_chain_of_which_no_file_is_whole_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chain.json").write_text('{"block":')
    with pytest.raises(PartError, match="not whole"):
        ChainState(tmp_path / "chain.json").options()


def test_a_key_is_fresh_readable_by_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    keys = [create_chain_key(tmp_path / "keys" / name) for name in ("one.key", "two.key")]
    assert keys[0].address != keys[1].address
    assert load_chain_key(keys[0].file) == keys[0]
    assert stat.S_IMODE(keys[0].file.stat().st_mode) == 0o600
    assert stat.S_IMODE(keys[0].file.parent.stat().st_mode) == 0o700
    with pytest.raises(PartError, match="never overwritten"):
        create_chain_key(keys[0].file)


def test_a_missing_or_broken_key_is_told_without_showing_it(tmp_path: Path) -> None:
    with pytest.raises(PartError, match="is missing"):
        load_chain_key(tmp_path / "none.key")
    (tmp_path / "bad.key").write_text("0xsecret")
    with pytest.raises(PartError, match="holds no private key") as caught:
        load_chain_key(tmp_path / "bad.key")
    assert "secret" not in f"{caught.value}{caught.value.__cause__}"


def test_the_first_block_stays_the_same_however_often_a_chain_is_started(tmp_path: Path) -> None:
    state = tmp_path / "chain.json"
    with Anvil(tmp_path, state=state) as chain:
        chain.mine(3)
        first = chain.rpc("eth_getBlockByNumber", "0x0", False)
        chain.save()
    whole = ChainState(state)
    for later in range(1, 4):  # as each start leaves it: another block 0, in any place
        kept = max(
            (one for one in whole.files if one.exists()), key=lambda one: one.stat().st_mtime_ns
        )
        document = json.loads(kept.read_bytes())
        start = next(one for one in document["blocks"] if int(one["header"]["number"], 16) == 0)
        moment = hex(int(start["header"]["timestamp"], 16) + later)
        other = {**start, "header": {**start["header"], "timestamp": moment}}
        document["blocks"] = [other, *document["blocks"], other]
        kept.write_text(json.dumps(document))
        with Anvil(tmp_path, state=state) as chain:
            assert chain.rpc("eth_getBlockByNumber", "0x0", False)["hash"] == first["hash"]
            assert chain.height() == 3
            chain.save()
