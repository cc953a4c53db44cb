"""anchors.yaml: which section wins, what is refused, and that no message holds a value."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from vaultmesh.domain.errors import InvalidDocument
from vaultmesh.domain.failures import AuthFailure, NetworkFailure
from vaultmesh.domain.target import Target
from vaultmesh.domain.targets_config import (
    Aggregation,
    CommonSettings,
    Reading,
    check_sections,
    settings_for,
)
from vaultmesh.ledgers.evm.settings import EvmFinality, EvmSettings

TARGET = Target.parse("eip155:8453")
CONTRACT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
KEY = "0x" + "ab" * 32
Section = dict[str, object]


def section(**keys: object) -> Section:
    return {"rpcUrl": "http://node:8545", "contract": CONTRACT, **keys}


def read(default: Section, override: Section | None = None, **environment: str) -> EvmSettings:
    document = {"eip155": {"default": default, "8453": override or {}}}
    return settings_for(document, TARGET, EvmSettings, Reading(environment))


def refusals(default: Section, override: Section | None = None, **environment: str) -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        read(default, override, **environment)
    return [str(problem) for problem in caught.value.problems]


def urls(settings: EvmSettings) -> list[str]:
    return [url.get_secret_value() for url in settings.endpoints]


def test_the_shipped_keys_are_enough_and_the_rest_has_defaults() -> None:
    settings = read(section(chainId=8453, key=KEY, persist=False, confirmations=12))
    assert settings.window == timedelta(milliseconds=250)
    assert settings.window_max == timedelta(seconds=10)
    assert settings.max_leaves == 1_000
    assert settings.aggregation is Aggregation.AUTO
    assert settings.finality is EvmFinality.FINALIZED
    assert (settings.quorum, settings.confirmations) == (1, 12)


def test_every_documented_key_is_read() -> None:
    settings = read(
        {
            "rpcUrls": ["http://a", "https://b/key"],
            "contract": CONTRACT,
            "keyFile": "keys/evm",
            "quorum": 2,
            "finality": "depth",
            "maxFeePerGasGwei": "1.5",
            "maxPriorityFeeGwei": 1,
            "bumpAfterBlocks": 5,
            "aggregation": "off",
            "window": "50ms",
            "windowMax": "2s",
            "maxLeaves": 10,
        }
    )
    assert urls(settings) == ["http://a", "https://b/key"]
    assert settings.max_fee_per_gas_wei == 1_500_000_000
    assert settings.max_priority_fee_wei == 1_000_000_000
    assert settings.window == timedelta(milliseconds=50)
    assert settings.aggregation is Aggregation.OFF


def test_a_reference_overrides_the_default_key_by_key() -> None:
    settings = read(section(confirmations=12), {"confirmations": 3, "chainId": 8453})
    assert settings.confirmations == 3
    assert urls(settings) == ["http://node:8545"]


def test_the_environment_overrides_the_default_but_not_the_reference() -> None:
    settings = read(
        section(confirmations=12),
        {"confirmations": 3},
        EVM_RPC="http://env",
        EVM_PERSIST="true",
        EVM_CONFIRMATIONS="9",
        EVM_CHAIN_ID="8453",
        EVM_ANCHOR_KEY=KEY,
    )
    assert urls(settings) == ["http://env"]
    assert settings.persist is True
    assert settings.chain_id == 8453
    assert settings.confirmations == 3


def test_an_empty_environment_variable_overrides_nothing() -> None:
    assert urls(read(section(), EVM_RPC="")) == ["http://node:8545"]


@pytest.mark.parametrize(
    ("default", "override", "expected"),
    [
        ({"rpcUrl": "http://a"}, {"rpcUrls": ["http://b", "http://c"]}, ["http://b", "http://c"]),
        ({"rpcUrls": ["http://a", "http://b"]}, {"rpcUrl": "http://c"}, ["http://c"]),
    ],
)
def test_the_nearer_of_two_keys_that_say_the_same_wins(
    default: Section, override: Section, expected: list[str]
) -> None:
    assert urls(read({"contract": CONTRACT, **default}, override)) == expected


def test_an_empty_value_counts_as_absent() -> None:
    settings = read(section(key="", keyFile="keys/evm", chainId=None, maxFeePerGasGwei=""))
    assert settings.key is None
    assert settings.chain_id is None


@pytest.mark.parametrize(
    ("default", "override", "place", "words"),
    [
        (section(rpcURL="http://a"), {}, "eip155.default.rpcURL", "unknown key"),
        (section(), {"gas": 1}, "eip155.8453.gas", "use one of: aggregation"),
        ({"contract": CONTRACT}, {}, "eip155.default", "add rpcUrl or rpcUrls"),
        ({"rpcUrl": "http://a"}, {}, "eip155.default.contract", "add it"),
        (section(rpcUrl="node:8545"), {}, "eip155.default.rpcUrl", "http://"),
        (section(rpcUrl="http://[::1"), {}, "eip155.default.rpcUrl", "http://"),
        (section(rpcUrl="http://a:99999"), {}, "eip155.default.rpcUrl", "http://"),
        (section(), {"rpcUrls": ["http://a", "b"]}, "eip155.8453.rpcUrls.1", "http://"),
        (section(contract="0x12"), {}, "eip155.default.contract", "40 hex digits"),
        (section(key="hush"), {}, "eip155.default.key", "64 hex digits"),
        (section(key=KEY, keyFile="k"), {}, "eip155.default.keyFile", "is given beside key"),
        (section(chainId=1), {}, "eip155.default.chainId", "is 1, but the target is eip155:8453"),
        (section(), {"chainId": 10}, "eip155.8453.chainId", "is 10, but the target is eip155:8453"),
        (section(chainId="one"), {}, "eip155.default.chainId", "write digits"),
        (section(persist="yes"), {}, "eip155.default.persist", "true nor false"),
        (section(quorum=2), {}, "eip155.default", "above the number of endpoints, 1"),
        (section(quorum=0), {}, "eip155.default.quorum", "use at least 1"),
        (section(finality="soon"), {}, "eip155.default.finality", "finalized, safe, depth"),
        (section(aggregation="sometimes"), {}, "eip155.default.aggregation", "auto, always, off"),
        (section(window="20s"), {}, "eip155.default", "longer than windowMax"),
        (section(window="fast"), {}, "eip155.default.window", "such as 250ms"),
        (section(maxLeaves=0), {}, "eip155.default.maxLeaves", "use at least 1"),
        (section(maxFeePerGasGwei="-1"), {}, "eip155.default.maxFeePerGasGwei", "decimal number"),
        (
            section(maxFeePerGasGwei="0.00000000001"),
            {},
            "eip155.default.maxFeePerGasGwei",
            "9 decimals",
        ),
        (
            section(maxFeePerGasGwei=1, maxPriorityFeeGwei=2),
            {},
            "eip155.default",
            "maxPriorityFeeGwei is above",
        ),
    ],
)
def test_a_mistake_is_reported_in_the_section_that_holds_it(
    default: Section, override: Section, place: str, words: str
) -> None:
    lines = refusals(default, override)
    assert len(lines) == 1
    assert lines[0].startswith(f"{place}: ")
    assert words in lines[0]


def test_a_bad_value_of_the_environment_names_its_variable() -> None:
    (line,) = refusals(section(), EVM_PERSIST="TRUE")
    assert "EVM_PERSIST" in line


def test_no_message_and_no_text_form_holds_a_secret() -> None:
    secret = "hunter2-" + "9" * 30
    lines = refusals(
        section(rpcUrl=f"ftp://u:{secret}@h", key=secret, keyFile=secret), {"maxLeaves": secret}
    )
    settings = read(section(rpcUrl=f"http://u:{secret}@h", key=KEY))
    assert secret not in " ".join(lines)
    assert secret not in repr(settings) + str(settings) + settings.model_dump_json()
    assert KEY not in repr(settings)


def test_whoever_does_not_sign_needs_no_key() -> None:
    def expand(text: str) -> str:
        assert "EVM_ANCHOR_KEY" not in text
        return text

    document = {"eip155": {"default": section(key="${EVM_ANCHOR_KEY}")}}
    settings = settings_for(document, TARGET, EvmSettings, Reading(expand=expand, signing=False))
    assert settings.key is None


def test_the_common_keys_are_read_for_a_scheme_without_own_ones() -> None:
    document = {"rfc3161": {"default": {"window": "0ms"}}}
    settings = settings_for(document, Target.parse("rfc3161:tsa"), CommonSettings)
    assert settings.window == timedelta(0)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, "holds no settings"),
        ([], "holds no settings"),
        ({"eip155": None}, "write default below it"),
        ({"eip155": {"default": None}}, "eip155.default: holds no settings"),
        ({"evm": {"default": {}}}, "use one of: btc, eip155"),
    ],
)
def test_a_wrong_outline_is_refused(document: object, words: str) -> None:
    with pytest.raises(InvalidDocument, match=words):
        check_sections(document)


def test_the_key_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "evm").write_text(KEY + "\n")
    settings = read(section(keyFile="evm"))
    assert settings.signing_key(tmp_path) == SecretStr(KEY)


def test_a_missing_key_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(AuthFailure, match="EVM_ANCHOR_KEY"):
        read(section()).signing_key(tmp_path)
    with pytest.raises(NetworkFailure, match="keyFile"):
        read(section(keyFile="none")).signing_key(tmp_path)


def test_a_file_without_a_key_is_refused_without_showing_it(tmp_path: Path) -> None:
    (tmp_path / "evm").write_text("correct horse")
    with pytest.raises(AuthFailure) as caught:
        read(section(keyFile="evm")).signing_key(tmp_path)
    assert "horse" not in str(caught.value)
