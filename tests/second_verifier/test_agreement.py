"""Two verifiers that share nothing, ours and one in Go, say the same of 10,000 proofs (M2, M4, M6)."""

import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.second_verifier.binary import built
from tests.second_verifier.cases import HARMFUL, HARMLESS, OPEN, Case, cases
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.rounds.leaf import Aggregation, read_document

pytestmark = pytest.mark.timeout(700)  # without a cache, go builds its standard library first
FUZZED, ACCEPTED_BY_BOTH, REFUSED_BY_BOTH = 10_000, 2_000, 5_000
SHOWN = 5
"""Disagreements that a failure prints."""
REFUSED = "refused"


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the verifier for auditors, which reads inclusion proofs by themselves, too."""
    return built(tmp_path_factory.mktemp("second") / "verifier")


@pytest.fixture(scope="module")
def fuzzed() -> list[Case]:
    return list(cases())


@pytest.fixture(scope="module")
def ours(fuzzed: Sequence[Case]) -> list[str]:
    """Return what the product says of each proof."""
    return [our_verdict(one.text) for one in fuzzed]


@pytest.fixture(scope="module")
def theirs(fuzzed: Sequence[Case], verifier: Path) -> list[str]:
    """Return what the verifier in Go says of each proof."""
    return ask(verifier, [one.text for one in fuzzed])


def our_verdict(text: bytes) -> str:
    """Return the root that the product takes a proof for, or that it refuses it."""
    try:
        return read_document(Aggregation, text).proven_root().receipt_form
    except InvalidValue:
        return REFUSED


def ask(verifier: Path, texts: Sequence[bytes]) -> list[str]:
    """Return the roots that the verifier in Go takes proofs for, or that it refuses them."""
    assert not [text for text in texts if b"\n" in text]
    given = b"".join(text + b"\n" for text in texts)
    done = subprocess.run(
        [str(verifier), "--stdin-inclusions"], input=given, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    said = done.stdout.decode().splitlines()
    assert len(said) == len(texts)
    return [line.split()[1] if line.startswith("accepted ") else _refusal(line) for line in said]


def _refusal(line: str) -> str:
    assert line.startswith(f"{REFUSED} "), line
    return REFUSED


def test_both_say_the_same_of_every_proof(
    fuzzed: Sequence[Case], ours: Sequence[str], theirs: Sequence[str]
) -> None:
    assert len(fuzzed) == FUZZED
    differing = [
        (case.change, our, their, case.text[:1000])
        for case, our, their in zip(fuzzed, ours, theirs, strict=True)
        if our != their
    ]
    assert differing[:SHOWN] == [], f"{len(differing)} differ"
    refused = Counter(one == REFUSED for one in ours)
    assert refused[False] >= ACCEPTED_BY_BOTH
    assert refused[True] >= REFUSED_BY_BOTH


def test_what_must_not_matter_does_not_and_what_must_does(
    fuzzed: Sequence[Case], ours: Sequence[str], theirs: Sequence[str]
) -> None:
    wrong = [
        (case.change, our, their, case.text[:1000])
        for case, our, their in zip(fuzzed, ours, theirs, strict=True)
        if case.sound is not None and {our != REFUSED, their != REFUSED} != {case.sound}
    ]
    assert wrong[:SHOWN] == [], f"{Counter(one[0] for one in wrong)}"


def test_every_change_occurs_often_enough_to_mean_something(fuzzed: Sequence[Case]) -> None:
    counted = Counter(one.change for one in fuzzed)
    assert set(counted) == {one.__name__ for one in (*HARMLESS, *HARMFUL, *OPEN)}
    assert min(counted.values()) >= 200
    assert len({one.text for one in fuzzed}) == FUZZED
