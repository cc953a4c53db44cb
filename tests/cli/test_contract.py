"""`contract deploy` on a real chain."""

import json
import secrets
from pathlib import Path

import pytest
from eth_account import Account

from contracts.artifact import load_artifact
from devnet.anvil import CHAIN_ID
from tests.cli.conftest import Command
from tests.support.evm_system import TARGET, EvmSystem

pytestmark = [pytest.mark.server, pytest.mark.evm]


@pytest.fixture
def deploy(operate: Command, system: EvmSystem, tmp_path: Path) -> Command:
    """Deploy with a section that names no contract; `chain` and `key` may differ from the real ones."""

    def command(chain: int = CHAIN_ID, key: str = "", *more: str) -> object:
        place = tmp_path / "anchors.yaml"
        section = {"rpcUrl": system.anvil.url, "contract": "${NOT_SET_YET}", "key": "${DEPLOY_KEY}"}
        place.write_text(json.dumps({"eip155": {str(chain): section}}))
        environment = {"VMSH_ANCHORS": str(place), **({"DEPLOY_KEY": key} if key else {})}
        return operate("contract", "deploy", "--target", f"eip155:{chain}", *more, **environment)

    return command  # type: ignore[return-value]


def _funded(system: EvmSystem) -> str:
    key = "0x" + secrets.token_hex(32)
    system.anvil.fund(Account.from_key(key).address)
    return key


def test_deploy_prints_the_address_of_the_contract_alone(
    deploy: Command, system: EvmSystem
) -> None:
    outcome = deploy(key=_funded(system))
    assert outcome.code == 0
    address = outcome.out.removesuffix("\n")
    code = system.rpc("eth_getCode", address, "latest")
    assert code == load_artifact()["deployedBytecode"]


def test_deploy_json_names_transaction_and_block(deploy: Command, system: EvmSystem) -> None:
    document = deploy(CHAIN_ID, _funded(system), "--json").json()
    receipt = system.rpc("eth_getTransactionReceipt", document["tx_ref"])
    assert document["target"] == TARGET
    assert document["address"] == receipt["contractAddress"].lower()
    assert document["block"] == int(receipt["blockNumber"], 16)


def test_an_account_without_funds_is_told_so(deploy: Command) -> None:
    outcome = deploy(key="0x" + secrets.token_hex(32))
    assert (outcome.code, outcome.out) == (1, "")
    assert "funds" in outcome.err


def test_another_chain_than_the_one_named_is_refused(deploy: Command, system: EvmSystem) -> None:
    outcome = deploy(chain=4242, key=_funded(system))
    assert (outcome.code, outcome.out) == (1, "")
    assert f"eip155:{CHAIN_ID}, not eip155:4242" in outcome.err


def test_a_missing_key_is_bad_configuration(deploy: Command) -> None:
    outcome = deploy()
    assert (outcome.code, outcome.out) == (2, "")
    assert "DEPLOY_KEY" in outcome.err
