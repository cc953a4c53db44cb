"""Targets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.target import Target

TEXTS = st.from_regex(r"[a-z][a-z0-9]{1,15}:[A-Za-z0-9][-._A-Za-z0-9]{0,63}", fullmatch=True)


class Holder(BaseModel):
    target: Target


@given(TEXTS)
def test_parsing_then_formatting_is_the_identity(text: str) -> None:
    target = Target.parse(text)
    assert str(target) == text
    holder = Holder(target=target)
    assert Holder.model_validate_json(holder.model_dump_json()) == holder


@pytest.mark.parametrize(
    "text", ["", "btc", "btc:", ":x", "BTC:mainnet", "b:x", "btc:a b", "btc:main/net", "btc:x\n"]
)
def test_a_malformed_target_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not a target"):
        Target.parse(text)
    with pytest.raises(ValidationError):
        Holder.model_validate({"target": text})


def test_a_target_names_its_files() -> None:
    assert Target.parse("eip155:8453").path == "eip155_8453"
    assert Target.parse("rfc3161:Free_TSA").path == "rfc3161_~46ree~5f~54~53~41"


@pytest.mark.parametrize("text", ["eip155:31337", "btc:mainnet", "rfc3161:tsa"])
def test_a_folder_tells_its_target(text: str) -> None:
    target = Target.parse(text)
    assert Target.of_path(target.path) == target


@pytest.mark.parametrize("path", ["rfc3161_a~5fb", "eip155", "_x", "EIP155_1", "rfc3161_Big"])
def test_a_folder_whose_name_does_not_tell_is_nobodys(path: str) -> None:
    assert Target.of_path(path) is None
