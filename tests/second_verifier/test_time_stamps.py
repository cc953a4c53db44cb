"""Both verifiers, the product's and the one in Go, say the same of time stamps: of good ones, bad ones and changed ones.

Changes come from seeds; keys are new each time. A failure shows the whole case, as the verifier in Go reads it.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import pytest
from asn1crypto import pem

from tests.ledgers.rfc3161.core import test_forms, test_paths
from tests.ledgers.rfc3161.core.second_judge import openssl_objects
from tests.second_verifier.signed_changes import authorities, signed_change
from tests.second_verifier.stamped_receipts import (
    REQUEST,
    Case,
    bases,
    changed_case,
    evidence_of,
    our_answer,
)
from tests.simulators.certificates import issuer_of
from tests.simulators.timestamps import Forgery
from vaultmesh.ledgers.rfc3161.core.evidence import bytes_of

pytestmark = [
    pytest.mark.timeout(900),  # without a cache, go builds its standard library first
    pytest.mark.filterwarnings("ignore"),  # the certificates library warns of odd certificates
]
ROOT = Path(__file__).parents[2]
MODULE = ROOT / "verifier"
OFFLINE = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GO111MODULE": "on"}
VECTOR = ROOT / "tests" / "vectors" / "receipts" / "rfc3161_tsa.json"
CHANGED, SIGNED_AGAIN = (
    int(count) for count in os.environ.get("STAMPS_FUZZED", "18000,2000").split(",")
)
"""Receipts with a change, and with one that is signed again."""
AT_ONCE = 500
PROVEN_PART = 0.03
SHOWN = 3
"""Disagreements that a failure prints."""


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the program that asks the verifier in Go."""
    assert shutil.which("go"), "go is not installed; install it, or put it on PATH"
    program = tmp_path_factory.mktemp("stamps") / "timestamps"
    done = subprocess.run(
        ["go", "build", "-buildvcs=false", "-o", str(program), "./internal/timestamps"],
        cwd=MODULE,
        env={**os.environ, **OFFLINE},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return program


def ask(verifier: Path, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return what the verifier in Go says of each case."""
    lines = b"".join(case.line() for case in cases)
    done = subprocess.run([str(verifier)], input=lines, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(cases)
    return answers


def is_proven(answer: dict[str, Any]) -> bool:
    """Whether every check holds."""
    return all(found == "holds" for _, found in answer["checks"])


def differing(verifier: Path, cases: Sequence[Case]) -> tuple[list[str], int]:
    """Return where the verifiers differ, and how many cases are proven."""
    ours = [our_answer(case) for case in cases]
    theirs = ask(verifier, cases)
    differences = [
        f"{case.name}\nours   {our}\ntheirs {their}\n{case.line().decode()}"
        for case, our, their in zip(cases, ours, theirs, strict=True)
        if our != their
    ]
    return differences, sum(map(is_proven, ours))


def _fuzz(make: Callable[[int], Case], seeds: range, verifier: Path) -> tuple[list[str], int]:
    with catch_warnings():
        simplefilter("ignore")
        return differing(verifier, [make(seed) for seed in seeds])


def _fuzzed(verifier: Path) -> Iterator[tuple[list[str], int]]:
    """Compare many changed receipts, in two processes that both have the keys of this one."""
    bases(), authorities()
    parts = [
        (make, range(first, min(first + AT_ONCE, count)))
        for make, count in ((changed_case, CHANGED), (signed_change, SIGNED_AGAIN))
        for first in range(0, count, AT_ONCE)
    ]
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as processes:
        work = [processes.submit(partial(_fuzz, make, seeds, verifier)) for make, seeds in parts]
        yield from (done.result() for done in work)


def test_both_say_the_same_of_every_form_and_path_and_list(verifier: Path) -> None:
    differences, proven = differing(verifier, bases())
    assert differences[:SHOWN] == [], f"{len(differences)} differ"
    assert proven >= 80
    assert len(bases()) - proven >= 150


def test_both_say_the_same_of_changed_receipts(verifier: Path) -> None:
    results = list(_fuzzed(verifier))
    differences = [difference for found, _ in results for difference in found]
    assert list(islice(differences, SHOWN)) == [], f"{len(differences)} differ"
    assert sum(proven for _, proven in results) >= PROVEN_PART * (CHANGED + SIGNED_AGAIN)


def test_a_real_token_is_proven_by_its_root_and_by_no_other(verifier: Path) -> None:
    case = real_case()
    root = test_paths.ROOT.pem
    cases = [case, Case("", case.evidence, (root,), case.tx_ref, case.anchor_ts, case.commitment)]
    differences, proven = differing(verifier, cases)
    assert differences == []
    assert proven == 1


def real_case() -> Case:
    """Return the case of a token that openssl made."""
    receipt = json.loads(VECTOR.read_text())
    evidence = receipt["evidence"]["rfc3161"]
    certificates = [bytes_of(text) or b"" for text in evidence["certificates"]]
    commitment = bytes.fromhex(receipt["root"][2:])
    return Case(
        "real",
        evidence,
        (pem.armor("CERTIFICATE", certificates[-1]),),
        receipt["txRef"],
        receipt["anchorTs"],
        commitment,
    )


def test_what_go_takes_openssl_takes(verifier: Path) -> None:
    cases, objections = [], []
    for name, make in test_forms.CASES.items():
        form = make()
        reply = form.forgery.reply(form.request)
        evidence = evidence_of(reply, request=None, allowSha1CertId=form.allows_sha1)
        cases.append(Case(name, evidence, (test_forms.ROOT.pem,)))
        objections.append(
            openssl_objects(reply, form.request, [test_forms.ROOT], as_cms=form.as_cms)
        )
    for name, make_path in test_paths.GOOD.items():
        path = make_path()
        reply = Forgery(path.signer, chain=path.path[:-1]).reply(REQUEST)
        files = b"".join(holder.pem for holder in (*path.bundled, *path.roots))
        cases.append(Case(name, evidence_of(reply), (files,)))
        objections.append(openssl_objects(reply, REQUEST, path.roots, path.bundled))
    stranger = issuer_of("root")
    cases.append(Case("stranger", evidence_of(test_forms.GOOD), (stranger.pem,)))
    objections.append(openssl_objects(test_forms.GOOD, REQUEST, [stranger]))
    answers = ask(verifier, cases)
    for case, answer, objection in zip(cases, answers, objections, strict=True):
        assert is_proven(answer) is (objection == ""), (case.name, answer, objection)
