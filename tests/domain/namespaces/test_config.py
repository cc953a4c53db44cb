"""namespaces.yaml: what it may say, what is refused, and where the refusal points."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.errors import InvalidDocument
from vaultmesh.domain.messages import Backoff
from vaultmesh.domain.namespaces.config import NamespaceSpec, ParsedNamespaces, parse_namespaces

SCHEMES = ("btc", "eip155", "rfc3161")
Tree = dict[str, object]


def document(**namespace: object) -> Tree:
    cadence = {
        "fast": {"target": "eip155:31337", "every": "89s", "confirmations": 3},
        "strong": {"target": "btc:regtest", "every": "34*fast", "confirmations": 6},
        "cold": {"target": "rfc3161:tsa", "every": "1d", "policyOID": ""},
    }
    return {"namespaces": {"dao:example": {"cadence": cadence, **namespace}}}


def with_cadence(**cadences: object) -> Tree:
    return {"namespaces": {"dao:example": {"cadence": cadences}}}


def fast(every: object = "89s", target: object = "eip155:1", **more: object) -> Tree:
    return {"every": every, "target": target, **more}


def parse(content: object) -> ParsedNamespaces:
    return parse_namespaces(content)


def spec(content: object) -> NamespaceSpec:
    return parse(content).specs["dao:example"]


def refusals(content: object) -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        parse(content)
    return [str(problem) for problem in caught.value.problems]


def test_the_documented_example_is_read() -> None:
    read = spec(
        document(
            witnesses={"min_required": 2, "allowlist": ["did:vm:arbiter:a"]},
            schema_policy={"allow": ["ledger.append@1.0.x"]},
            description="an example",
        )
    )
    assert list(read.cadences) == ["fast", "strong", "cold"]
    assert read.periods == {
        "fast": timedelta(seconds=89),
        "strong": timedelta(seconds=34 * 89),
        "cold": timedelta(days=1),
    }
    assert read.cadences["strong"].required_depth == 6
    assert str(read.cadences["fast"].target) == "eip155:31337"
    assert read.batches == ""


PATH = "namespaces.dao:example.cadence"


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        (with_cadence(fast=fast("89S")), f"{PATH}.fast.every", "lower case: '89s'"),
        (with_cadence(fast=fast("2*fast")), f"{PATH}.fast.every", "circle"),
        (with_cadence(fast=fast("0s")), f"{PATH}.fast.every", "out of range"),
        (with_cadence(fast=fast("")), f"{PATH}.fast.every", "is not <n>s"),
        (
            with_cadence(fast=fast(), cold=fast("2*slow")),
            f"{PATH}.cold.every",
            "there are: cold, fast",
        ),
        (with_cadence(fast=fast(89)), f"{PATH}.fast.every", "in quotes"),
        (with_cadence(fast=fast("\u0663s")), f"{PATH}.fast.every", "ASCII"),
        (with_cadence(fast=fast(), strong=fast("34*FAST")), f"{PATH}.strong.every", "lower case"),
        (with_cadence(fast=fast(target="evm:1")), f"{PATH}.fast.target", "btc, eip155, rfc3161"),
        (with_cadence(fast=fast(target="eip155")), f"{PATH}.fast.target", "not a target"),
        (with_cadence(fast=fast(target=1)), f"{PATH}.fast.target", "write scheme:reference"),
        (with_cadence(fast=fast(), warm=fast()), f"{PATH}.warm", "dropped it in silence"),
        (with_cadence(strong=fast()), PATH, "has no fast"),
        (with_cadence(fast=fast(confirmations=-1)), f"{PATH}.fast.confirmations", "use at least 0"),
        (with_cadence(fast=fast(confirmations=True)), f"{PATH}.fast.confirmations", "whole number"),
        (with_cadence(fast=fast(policyOID="1.2.3")), f"{PATH}.fast.policyOID", "anchors.yaml"),
        (with_cadence(fast=fast(phase="soon")), f"{PATH}.fast.phase", "duration"),
        (
            with_cadence(fast=fast(depth=3)),
            f"{PATH}.fast.depth",
            "use one of: confirmations, deadline, every",
        ),
        (with_cadence(fast={"every": "89s"}), f"{PATH}.fast.target", "add it"),
        (document(owner="me"), "namespaces.dao:example.owner", "use one of: batches, cadence"),
        (document(batches="/srv"), "namespaces.dao:example.batches", "below the root"),
        (document(batches="out/../../x"), "namespaces.dao:example.batches", "without .."),
        (
            document(witnesses={"allowlist": []}),
            "namespaces.dao:example.witnesses.min_required",
            "add it",
        ),
        ({"namespaces": {"dao/x": {"cadence": {"fast": fast()}}}}, "namespaces.dao/x", "name"),
        ({"namespaces": {"": {"cadence": {"fast": fast()}}}}, "namespaces.", "name"),
        ({**document(), "version": 1}, "version", "use one of: namespaces"),
        ({}, "namespaces", "add it"),
        ([], "does not hold", "write keys and values"),
        ("text", "does not hold", "write keys and values"),
        (None, "does not hold", "write keys and values"),
    ],
)
def test_a_mistake_is_reported_where_it_is(content: object, place: str, words: str) -> None:
    lines = refusals(content)
    assert len(lines) == 1
    assert lines[0].startswith(place)
    assert words in lines[0]


def test_every_mistake_is_reported_at_once() -> None:
    content = {
        "namespaces": {
            "a:b": {"cadence": {"fast": fast("89S"), "warm": {"x": 1}}},
            "c:d": {"cadence": {"fast": fast(), "owner": 1}, "color": "red"},
            "e:f": {"cadence": {"fast": fast("2*cold", target="evm:1"), "cold": fast("3*fast")}},
            "g:h": {
                "cadence": {"fast": fast("1S"), "cold": fast("3*fast"), "strong": fast("5*slow")}
            },
        }
    }
    places = [line.split(": ")[0] for line in refusals(content)]
    assert sorted(places) == [
        "namespaces.a:b.cadence.fast.every",
        "namespaces.a:b.cadence.warm",
        "namespaces.c:d.cadence.owner",
        "namespaces.c:d.color",
        "namespaces.e:f.cadence.fast.every",
        "namespaces.e:f.cadence.fast.target",
        "namespaces.g:h.cadence.fast.every",
        "namespaces.g:h.cadence.strong.every",
    ]


def test_a_mistake_in_fast_is_reported_once_and_not_at_its_multiples() -> None:
    cadences = with_cadence(strong=fast("2*cold"), fast=fast(), cold=fast("often"))
    assert [line.split(": ")[0] for line in refusals(cadences)] == [f"{PATH}.cold.every"]


def test_a_name_with_a_colon_at_its_end_is_another_namespace() -> None:
    entry = {"cadence": {"fast": fast()}}
    read = parse({"namespaces": {"dao:vaultmesh": entry, "dao:vaultmesh:": entry}})
    assert set(read.specs) == {"dao:vaultmesh", "dao:vaultmesh:"}
    assert len({one.content_hash for one in read.specs.values()}) == 2


def test_unknown_keys_in_parts_that_others_read_are_warnings() -> None:
    content = document(
        witnesses={"min_required": 1, "allowlist": [], "quorum": 2},
        schema_policy={"allow": [], "deny": []},
    )
    places = [".".join(warning.path) for warning in parse(content).warnings]
    assert places == [
        "namespaces.dao:example.witnesses.quorum",
        "namespaces.dao:example.schema_policy.deny",
    ]


def test_a_multiple_of_another_cadence_than_fast_is_allowed() -> None:
    read = spec(with_cadence(fast=fast("10s"), strong=fast("3*fast"), cold=fast("7*strong")))
    assert read.periods["cold"] == timedelta(seconds=210)


def test_the_default_folder_counts_as_none_given() -> None:
    assert spec(document(batches="out/batches/")) == spec(document())


@pytest.mark.parametrize(
    "change",
    [
        lambda cadence: cadence["fast"].update(every="90s"),
        lambda cadence: cadence["fast"].update(target="eip155:1"),
        lambda cadence: cadence["fast"].update(confirmations=4),
        lambda cadence: cadence["fast"].update(phase="3s"),
        lambda cadence: cadence.pop("cold"),
    ],
)
def test_the_hash_changes_with_whatever_a_namespace_acts_on(
    change: Callable[[Tree], object],
) -> None:
    changed = document()
    change(changed["namespaces"]["dao:example"]["cadence"])  # type: ignore[index]
    assert spec(changed).content_hash != spec(document()).content_hash
    assert parse(changed).content_hash != parse(document()).content_hash


def test_the_hash_does_not_depend_on_what_no_namespace_acts_on() -> None:
    shuffled = with_cadence(
        cold={"every": "1d", "target": "rfc3161:tsa", "phase": "0s"},
        strong={"target": "btc:regtest", "confirmations": 6, "every": "34*fast"},
        fast={"target": "eip155:31337", "every": "89s", "confirmations": 3},
    )
    assert spec(shuffled).content_hash == spec(document(description="words")).content_hash


def test_the_hash_of_a_namespace_is_the_same_in_every_version() -> None:
    known = "db3c2cbd3909bfc7ff0dbc21e0cd03dfc05ac83148061e53a2b610d7a5ccc875"
    assert spec(document()).content_hash == known


def test_a_namespaces_configuration_says_everything() -> None:
    configuration = spec(document()).configuration(
        backoff=Backoff(base_seconds=1, cap=3),
        anchor_timeout=timedelta(seconds=15),
        continue_after_events=200,
    )
    assert configuration.namespace == "dao:example"
    assert configuration.config_hash == spec(document()).content_hash
    assert (configuration.anchor_timeout_seconds, configuration.continue_after_events) == (
        15.0,
        200,
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
FAST = st.fixed_dictionaries({}, optional={"target": JSON, "every": JSON, "confirmations": JSON})


@given(JSON | st.builds(lambda one: with_cadence(fast=one), FAST | JSON))
def test_no_document_is_answered_otherwise_than_by_problems(content: object) -> None:
    with suppress(InvalidDocument):
        parse(content)
