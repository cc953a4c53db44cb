"""Everything that people write is refused in our words: what, where and how to mend it, for every field and every slip."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, JsonValue

from tests.domain.test_complaints import FOREIGN
from vaultmesh.domain.aggregator import orders
from vaultmesh.domain.aggregator.decisions import read_resolve
from vaultmesh.domain.errors import ConfigurationError, InvalidValue
from vaultmesh.domain.messages import AnchorRequest, FailureNote
from vaultmesh.domain.namespaces import commands
from vaultmesh.domain.namespaces.config import CadenceEntry
from vaultmesh.domain.namespaces.governance import CadenceChange
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.targets import settings_model
from vaultmesh.process.config_files import load_anchors, load_namespaces
from vaultmesh.process.settings import Settings

Json = Any
WRONG: tuple[Json, ...] = (None, True, -7, 1.5, "no such thing", "", [], [1], {}, {"a": 1})
"""At least one of them is wrong for any field."""
MENDED = re.compile(r" - |; |\?|: .*(write|use|give)|takes (no|one)|is not <n>s")
"""How to mend it stands behind one of these."""
REFERENCES = {"eip155": "1", "btc": "mainnet", "rfc3161": "tsa"}
RIGHT: Mapping[str, Mapping[str, Json]] = {
    "eip155": {"rpcUrl": "http://127.0.0.1:1", "contract": "0x" + "1" * 40},
    "btc": {"rpcUrl": "http://127.0.0.1:1"},
    "rfc3161": {"url": "http://127.0.0.1:1", "trustBundle": "roots.pem"},
}
CADENCE = {"target": "eip155:1", "every": "89s"}
NAMESPACE = {
    "description": "x",
    "witnesses": {"min_required": 1, "allowlist": ["x"]},
    "schema_policy": {"allow": ["x"]},
    "batches": "out/mine",
    "cadence": {
        "fast": {**CADENCE, "phase": "1s", "confirmations": 1, "deadline": "30m", "policyOID": ""}
    },
}
CONFIGURATION = Configuration(
    namespace="a:b",
    cadences={"fast": CadenceConfig(target=Target.parse("eip155:1"), every="89s")},
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def variants(document: Json) -> Iterator[Json]:
    """Return the document with, at each place in turn, another value, nothing at all, or a key too many."""
    yield from WRONG
    if isinstance(document, dict):
        yield {**document, "zzz": 1}
        for key, value in document.items():
            yield {name: item for name, item in document.items() if name != key}
            yield {(f"{name}x" if name == key else name): item for name, item in document.items()}
            for variant in variants(value):
                yield {**document, key: variant}
    if isinstance(document, list):
        for index, value in enumerate(document):
            for variant in variants(value):
                yield [*document[:index], variant, *document[index + 1 :]]


def assert_ours(problem: str) -> None:
    assert not FOREIGN.search(problem), problem
    assert MENDED.search(problem), problem


def refused_files(load: Any, path: Path, documents: Iterator[Json]) -> int:
    refused = 0
    for document in documents:
        path.write_text(json.dumps(document, indent=1))
        try:
            load(path)
        except ConfigurationError as error:
            refused += 1
            for problem in error.problems:
                assert re.match(rf"{re.escape(str(path))}:\d+ ", problem), problem
                assert_ours(problem)
    return refused


def test_every_slip_in_namespaces_is_told_in_our_words(tmp_path: Path) -> None:
    documents = variants({"namespaces": {"a:b": NAMESPACE}})
    assert refused_files(load_namespaces, tmp_path / "namespaces.yaml", documents) > 150


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_every_slip_in_anchors_is_told_in_our_words(scheme: str, tmp_path: Path) -> None:
    target = Target(scheme, REFERENCES[scheme])
    model = settings_model(target)

    def load(path: Path) -> None:
        load_anchors(path, {}).settings(target, model)

    right = RIGHT[scheme]
    keys = [field.alias or name for name, field in model.model_fields.items()]
    places = [{key: value} for key in keys for value in (*WRONG, [{}], [-1])]
    documents = [
        *variants({scheme: {"default": right, target.reference: {}}}),
        *({scheme: {"default": {**right, **place}}} for place in places),
        *({scheme: {"default": {**right, f"{key}x": 1}}} for key in keys),
    ]
    assert refused_files(load, tmp_path / "anchors.yaml", iter(documents)) > len(keys) * 3


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_each_misspelt_key_of_a_ledger_is_answered_with_the_right_one(
    scheme: str, tmp_path: Path
) -> None:
    target = Target(scheme, REFERENCES[scheme])
    model = settings_model(target)
    for name, field in model.model_fields.items():
        key = field.alias or name
        path = tmp_path / "anchors.yaml"
        path.write_text(json.dumps({scheme: {"default": {**RIGHT[scheme], f"{key}z": "1"}}}))
        with pytest.raises(ConfigurationError, match=f"{key}z: unknown key - did you mean 'u?"):
            load_anchors(path, {}).settings(target, model)


@pytest.mark.parametrize(
    "variable",
    ["VMSH_BASE_BACKOFF", "VMSH_MAX_BACKOFF", "METRICS_PORT", "METRICS_PREFIX", "LOG_LEVEL",
     "VMSH_REGISTER", "VMSH_ANCHOR_TIMEOUT", "VMSH_CONTINUE_AFTER_EVENTS", "VMSH_ROOT"],
)  # fmt: skip
def test_every_bad_variable_is_told_in_our_words(variable: str) -> None:
    refused = 0
    for value in ("-1", "no such thing", "99999999", "1.5", "~nobody-of-that-name/x", " ", "0"):
        try:
            Settings.from_environment({variable: value})
        except ConfigurationError as error:
            refused += 1
            for problem in error.problems:
                assert problem.startswith(f"{variable}: ")
                assert_ours(problem)
    assert refused


def test_a_misspelt_variable_is_warned_of_because_it_would_change_nothing_in_silence() -> None:
    settings = Settings.from_environment({"VMSH_ROOTS": "/srv", "VMSH_CACHE": "x", "HOME": "/"})
    assert settings.warnings == ("VMSH_ROOTS is not read - did you mean 'VMSH_ROOT'?",)


# --- messages ------------------------------------------------------------------------------------

INSTANT = "2026-01-01T00:00:00Z"
REQUEST = {"namespace": "a:b", "cadence": "fast", "slot": "1", "required_depth": 1, "failures": 0, "root_id": "x"}  # fmt: skip
MESSAGES: Mapping[str, Json] = {
    "pause": {"cadence": "fast", "reason": "x"},
    "resume": {"cadence": "fast"},
    "force_anchor": {"cadence": "fast", "reason": "x"},
    "set_cadence": {"namespace": "a:b", "cadence": {"fast": CADENCE}, "memo": "x"},
    "note_failure": {
        "cadence": "fast",
        "slot": "1",
        "kind": "network",
        "failures": 1,
        "message": "x",
        "at": INSTANT,
        "next_retry": INSTANT,
    },
}
ORDERS: Mapping[str, Json] = {
    "enqueue": [REQUEST],
    "withdraw": [REQUEST],
    "release": [REQUEST],
    "pause": {"reason": "x"},
    "reopened": ["x"],
    "rewrite": ["x"],
    "resume": None,
}


def refused_messages(read: Any, documents: Iterator[JsonValue]) -> int:
    refused = 0
    for document in documents:
        try:
            read(document)
        except InvalidValue as error:
            refused += 1
            assert "\n" not in str(error)
            assert_ours(str(error))
    return refused


@pytest.mark.parametrize("name", MESSAGES)
def test_every_slip_in_a_message_to_a_namespace_is_told_in_our_words(name: str) -> None:
    def read(document: Json) -> None:
        commands.read(name, [document], CONFIGURATION, NOW)

    assert refused_messages(read, variants(MESSAGES[name])) > 3


def test_every_slip_in_a_configuration_is_told_in_our_words() -> None:
    def read(document: Json) -> None:
        commands.read_configuration([document], "a:b")

    assert refused_messages(read, variants(CONFIGURATION.model_dump(mode="json"))) > 20


@pytest.mark.parametrize("name", ORDERS)
def test_every_slip_in_a_message_to_an_aggregator_is_told_in_our_words(name: str) -> None:
    def read(document: Json) -> None:
        orders.read(name, [document])

    assert refused_messages(read, variants(ORDERS[name])) > 3


@pytest.mark.parametrize(
    "order", [{"lost": "x", "by": "x"}, {"adopt": ["x", "y"]}, {"forget": "x"}, {"fill": True}]
)
def test_every_slip_in_a_decision_is_told_in_our_words(order: Json) -> None:
    assert refused_messages(read_resolve, variants(order)) > 10


@pytest.mark.parametrize(
    "model",
    [CadenceEntry, CadenceChange, AnchorRequest, FailureNote, Configuration, CadenceConfig],
)
def test_every_model_that_people_fill_is_swept_above(model: type[BaseModel]) -> None:
    """A field that is added to one of them belongs into the documents above."""
    written = json.dumps(
        [NAMESPACE, CADENCE, MESSAGES, ORDERS, CONFIGURATION.model_dump(mode="json")]
    )
    missing = [
        name
        for name, field in model.model_fields.items()
        if f'"{field.alias or name}"' not in written
    ]
    assert not missing
