"""The connection to Temporal: configured as every Temporal tool is, and a clear line when it can't be had."""

import socket
import time
from pathlib import Path

import pytest
from pydantic import BaseModel
from temporalio.contrib.pydantic import pydantic_data_converter

from devnet.ports import LOOPBACK, free_port
from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.process import client
from vaultmesh.process.client import Unreachable, connect
from vaultmesh.process.logs import REDACTED, without_secrets


class _Wire(BaseModel):
    number: int


@pytest.mark.server
async def test_an_address_is_enough_to_connect(address: str) -> None:
    connected = await connect()
    assert connected.service_client.config.target_host == address
    assert connected.namespace == "default"


@pytest.mark.server
async def test_models_travel_as_their_json(address: str) -> None:
    connected = await connect()
    (payload,) = await connected.data_converter.encode([_Wire(number=7)])
    assert payload.data == b'{"number":7}'
    assert connected.data_converter.payload_converter_class is (
        pydantic_data_converter.payload_converter_class
    )


@pytest.mark.server
async def test_profiles_of_the_sdk_are_read(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    profiles = tmp_path / "temporal.toml"
    profiles.write_text(
        f'[profile.staging]\naddress = "{address}"\nnamespace = "temporal-system"\n'
    )
    monkeypatch.delenv("TEMPORAL_ADDRESS")
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(profiles))
    monkeypatch.setenv("TEMPORAL_PROFILE", "staging")
    connected = await connect()
    assert connected.service_client.config.target_host == address
    assert connected.namespace == "temporal-system"


async def test_a_server_that_is_down_is_one_line_with_address_and_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = f"{LOOPBACK}:{free_port()}"
    monkeypatch.setenv("TEMPORAL_ADDRESS", place)
    with pytest.raises(Unreachable) as caught:
        await connect()
    message = str(caught.value)
    assert message == (
        f"Temporal at {place} can't be reached: Connection refused - start it, or set TEMPORAL_ADDRESS"
    )


async def test_a_server_that_says_nothing_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.5)
    started = time.monotonic()
    with socket.socket() as silent:
        silent.bind((LOOPBACK, 0))
        silent.listen()
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"{LOOPBACK}:{silent.getsockname()[1]}")
        with pytest.raises(Unreachable, match=r"no answer within 0\.5 s"):
            await connect()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TEMPORAL_ADDRESS", "http://127.0.0.1:7233"),
        ("TEMPORAL_ADDRESS", "127.0.0.1:99999"),
        ("TEMPORAL_PROFILE", "nobody"),
        ("TEMPORAL_TLS_CLIENT_CERT_PATH", "/no/such/certificate.pem"),
    ],
)
async def test_configuration_that_means_nothing_is_told_as_such(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", f"{LOOPBACK}:1")
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        await connect()
    (problem,) = caught.value.problems
    assert problem.startswith("TEMPORAL_")


async def test_an_api_key_appears_in_no_message_from_then_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", f"{LOOPBACK}:{free_port()}")
    monkeypatch.setenv("TEMPORAL_API_KEY", "key-of-this-test-alone")
    with pytest.raises(Unreachable):
        await connect()
    assert without_secrets("sent key-of-this-test-alone") == f"sent {REDACTED}"


async def test_a_broken_profile_is_told_without_the_key_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    profiles = tmp_path / "temporal.toml"
    profiles.write_text('[profile.default]\napi_key = "very-secret-key\n')
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(profiles))
    with pytest.raises(ConfigurationError) as caught:
        await connect()
    assert "very-secret-key" not in str(caught.value)
    assert "line 2" in str(caught.value)
