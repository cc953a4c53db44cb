"""The verifier for auditors, in Go, and the product say the same of real proofs and of fuzzed ones (E15, B11, M2, M7)."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SAID
from tests.second_verifier.binary import MODULE, PROGRAM, built, go
from tests.second_verifier.proof_campaign import (
    CHANGES,
    Comparison,
    campaign,
    comparable,
    lines,
    ours,
    theirs,
    trust,
)
from tests.second_verifier.real_proofs import PROOFS, real_proofs
from tests.second_verifier.written import written

pytestmark = pytest.mark.timeout(
    1_500
)  # of a busy machine, and go builds its standard library first
FUZZED = 20_000
"""`make fuzz-verifier` asks about five times as many."""
FEWEST_OF_EACH_STANDING = 500
OUTCOMES = {
    *(
        ("event path", "wrong"),
        ("event anchor", "wrong"),
        ("event anchor", "open"),
        ("inclusion proof", "wrong"),
    ),
    *(
        ("block header", "wrong"),
        ("block header", "open"),
        ("block time", "wrong"),
        ("transaction", "wrong"),
    ),
    *(
        ("contract", "wrong"),
        ("transaction receipt", "wrong"),
        ("root", "wrong"),
        ("evidence", "wrong"),
    ),
    *(
        ("block proof", "wrong"),
        ("network", "wrong"),
        ("block number", "wrong"),
        ("timestamp", "wrong"),
    ),
    *(
        ("depth", "open"),
        ("trusted block", "open"),
        ("trusted header", "open"),
        ("round", "wrong"),
        ("file", "wrong"),
    ),
    *(
        ("trusted block", "holds"),
        ("trusted header", "holds"),
        ("root", "holds"),
        ("receipt status", "wrong"),
    ),
}
"""What the fuzzed proofs must have come to somewhere, so that agreement means something."""


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("verifier") / "vaultmesh-verify")


@pytest.fixture(scope="module")
def compared(verifier: Path) -> Comparison:
    return campaign(verifier, FUZZED)


def test_both_say_the_same_of_every_fuzzed_proof(
    compared: Comparison, record_property: Callable[[str, object], None]
) -> None:
    record_property(SAID, next(lines(compared)))
    assert compared.cases == FUZZED
    assert compared.differing == [], "\n".join(lines(compared))


def test_fuzzed_proofs_reach_every_rule(compared: Comparison) -> None:
    assert set(compared.changes) == {change.__name__ for change in CHANGES}
    assert set(compared.standings) == {"proven", "consistent", "refuted"}
    assert min(compared.standings.values()) >= FEWEST_OF_EACH_STANDING
    assert OUTCOMES - compared.checks.keys() == set()


@pytest.mark.parametrize(
    ("name", "document"), real_proofs(), ids=[name for name, _ in real_proofs()]
)
def test_both_say_the_same_of_real_proofs(
    verifier: Path, name: str, document: dict[str, object]
) -> None:
    text = written(document).encode()
    (their,) = theirs([text], verifier, trust())
    assert comparable(their) == comparable(ours(text, trust()))


def test_a_file_that_holds_no_proof_ends_with_failure_and_a_bad_option_with_two(
    verifier: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    for arguments, code in (
        ((str(broken),), 1),
        ((str(PROOFS / "direct-first.json"),), 1),
        ((str(tmp_path / "absent.json"),), 1),
        ((), 2),
        (("--trust-block", "0x12", str(broken)), 2),
        (("--help",), 0),
    ):
        done = subprocess.run([str(verifier), *arguments], capture_output=True, check=False)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)


def test_tests_in_go_pass_and_its_code_is_sound() -> None:
    for arguments in (("vet", "./..."), ("test", "./...")):
        done = go(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    unformatted = subprocess.run(
        ["gofmt", "-l", "."], cwd=MODULE, capture_output=True, check=True, text=True
    )
    assert unformatted.stdout == ""


def test_a_build_is_the_same_wherever_it_is_made(verifier: Path, tmp_path: Path) -> None:
    shutil.copytree(MODULE, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("dist"))
    subprocess.run(["make", "--silent", "verifier"], cwd=MODULE.parent, check=True)
    again = built(tmp_path / "again", module=tmp_path / "elsewhere").read_bytes()
    assert again == verifier.read_bytes() == PROGRAM.read_bytes()


def test_the_manual_names_the_options_that_there_are(verifier: Path) -> None:
    manual = (MODULE.parent / "docs" / "verifier.md").read_text(encoding="utf-8")
    done = subprocess.run([str(verifier), "--help"], capture_output=True, check=True, text=True)
    option = re.compile(r"--[a-z][a-z-]+")
    mentioned = {name for name in option.findall(manual) if name not in ("--offline", "--help")}
    assert mentioned == set(option.findall(done.stdout)) - {"--help"}


def test_the_verifier_needs_nothing_but_the_standard_library() -> None:
    assert "require" not in (MODULE / "go.mod").read_text()
    assert not (MODULE / "go.sum").exists()
    listed = go("list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./...")
    assert listed.returncode == 0, listed.stderr
    assert {name.split("/")[0] for name in listed.stdout.split()} == {"vaultmesh"}
