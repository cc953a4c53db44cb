"""Asks both verifiers about fuzzed proofs, and tells where they differ: `python -m tests.second_verifier.proof_campaign`.

A case is made from its number alone, so that any of them can be made again, in any process.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from tests.second_verifier.binary import built
from tests.second_verifier.changed_proofs import (
    other_bytes,
    other_event_anchor,
    other_form,
    other_keys,
    other_letter_of_hex,
    other_nodes,
    other_receipts,
    other_state,
    other_value,
    several,
    transplanted,
)
from tests.second_verifier.real_proofs import (
    ROOTS,
    Document,
    proofs_on_chains,
    real_proofs,
    scheme_of,
)
from tests.second_verifier.rebuilt_proofs import btc_rebuilt, evm_rebuilt, other_trie, untouched
from tests.second_verifier.written import written
from vaultmesh.domain.checks import Trust, Verdict
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.verification import verify

TIME_STAMPS_ARE_COMPARED = True
"""Off while the verifier in Go leaves them open; then only what needs no token is compared of them."""
STAMPED_ALL_THE_SAME = 0.1
"""Share of the cases that may have time stamps while these are not compared."""
SEED = 45
PIECE = 500
"""Cases that are asked at once."""
Change = Callable[[Random, Document], Document | bytes]
CHANGES: Sequence[Change] = (
    untouched, other_value, other_value, other_letter_of_hex, other_form, other_keys, transplanted, other_receipts,
    other_state, other_event_anchor, several, other_bytes, other_bytes, evm_rebuilt, evm_rebuilt, btc_rebuilt,
    btc_rebuilt, other_nodes, other_trie,
)  # fmt: skip
Said = dict[str, Any]
"""What a verifier says, without its words: standings, and each check's name and outcome."""


@dataclass
class Comparison:
    """What came of some cases."""

    cases: int = 0
    seconds: float = 0
    """By the clock; of a whole campaign."""
    standings: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    checks: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Outcomes by the check's name, without network."""
    differing: list[tuple[int, str, Said, Said]] = field(default_factory=list)

    def add(self, other: "Comparison") -> None:
        """Take what another one holds."""
        self.cases += other.cases
        self.standings += other.standings
        self.changes += other.changes
        self.checks += other.checks
        self.differing += other.differing


def case(number: int) -> tuple[str, bytes]:
    """Make a case: the name of its change, and its text on one line."""
    rng = Random(f"{SEED}:{number}")
    change = CHANGES[number % len(CHANGES)]
    all_of_them = TIME_STAMPS_ARE_COMPARED or rng.random() < STAMPED_ALL_THE_SAME
    name, original = rng.choice(_texts(real_proofs if all_of_them else proofs_on_chains))
    changed = change(rng, json.loads(original))
    text = changed if isinstance(changed, bytes) else _encoded(written(changed))
    return f"{change.__name__} of {name}", text


@cache
def _texts(proofs: Callable[[], Sequence[tuple[str, Document]]]) -> Sequence[tuple[str, str]]:
    """Return documents as text: to read one again is the fastest way to have a copy of it."""
    return [(name, json.dumps(document)) for name, document in proofs()]


def _encoded(text: str) -> bytes:
    return text.replace("\n", "\r").encode("utf-8", "surrogatepass")


def trust() -> Trust:
    """Trust what two thirds of the real proofs need."""
    blocks, headers = set(), set()
    for place, (_, document) in enumerate(real_proofs()):
        for anchor in document.get("anchors") or [document]:
            evidence = anchor["evidence"]
            if place % 3 and "evm" in evidence:
                blocks.add(evidence["evm"]["blockHash"])
            if place % 3 and "btc" in evidence:
                headers.add(evidence["btc"]["blockHash"])
    return Trust(frozenset(blocks), frozenset(headers), (ROOTS.read_bytes(),))


def ours(text: bytes, trust: Trust) -> Said:
    """Return what the product says; a failure that it does not expect is one, too."""
    try:
        verdict = verify(text, trust)
    except InvalidValue:
        return {"standing": "refuted", "checks": [("file", "wrong")], "ledgers": []}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is to be shown
        return {"failed": repr(error)}
    parts = [(part.network, part.verdict) for part in verdict.ledgers]
    return {
        "standing": verdict.standing.value,
        "checks": _pairs(verdict),
        "ledgers": [(network, part.standing.value, _pairs(part)) for network, part in parts],
    }


def _pairs(verdict: Verdict) -> list[tuple[str, str]]:
    return [(check.name, check.found.value) for check in verdict.checks]


def theirs(texts: Sequence[bytes], program: Path, trust: Trust) -> list[Said]:
    """Return what the verifier in Go says."""
    stated = [f"--trust-block={block}" for block in sorted(trust.blocks)]
    stated += [f"--trust-header={header}" for header in sorted(trust.headers)]
    done = subprocess.run(
        [str(program), "--stdin-lines", f"--trust-roots={ROOTS}", *stated],
        input=b"".join(text + b"\n" for text in texts),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    reports = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert len(reports) == len(texts)
    return [_said(report) for report in reports]


def _said(report: dict[str, Any]) -> Said:
    return {
        "standing": report["overall"]["standing"],
        "checks": _named(report["overall"]),
        "ledgers": [
            (ledger["network"], ledger["verdict"]["standing"], _named(ledger["verdict"]))
            for ledger in report["ledgers"]
        ],
    }


def _named(verdict: dict[str, Any]) -> list[tuple[str, str]]:
    return [(check["name"], check["found"]) for check in verdict["checks"]]


def comparable(said: Said) -> Said:
    """Leave out what is not compared: what was found of tokens, and what rests on it."""
    if TIME_STAMPS_ARE_COMPARED or not any(
        _is_stamp(network) for network, *_ in said.get("ledgers", ())
    ):
        return said
    ledgers, kept = [], 0
    for network, standing, checks in said["ledgers"]:
        stamped = _is_stamp(network)
        ledgers.append((network, None if stamped else standing, checks[:3] if stamped else checks))
        kept += len(checks)
    own = said["checks"][: len(said["checks"]) - kept]
    return {"own": own if len(said["checks"]) > kept else [], "ledgers": ledgers}


def _is_stamp(network: str) -> bool:
    return scheme_of({"network": network}) == "rfc3161"


def compare(program: Path, numbers: Sequence[int]) -> Comparison:
    """Ask both about some cases."""
    stated = trust()
    cases = [case(number) for number in numbers]
    answers = theirs([text for _, text in cases], program, stated)
    result = Comparison()
    for number, (name, text), their in zip(numbers, cases, answers, strict=True):
        our = ours(text, stated)
        result.cases += 1
        result.changes[name.split(" of ")[0]] += 1
        result.standings[our.get("standing", "failed")] += 1
        own = len(our.get("checks", ())) - sum(len(part[2]) for part in our.get("ledgers", ()))
        result.checks.update(our.get("checks", [])[: max(own, 0)])
        result.checks.update(pair for part in our.get("ledgers", ()) for pair in part[2])
        if comparable(our) != comparable(their):
            result.differing.append((number, name, our, their))
    return result


def campaign(program: Path, count: int, *, first: int = 0, processes: int = 2) -> Comparison:
    """Ask both about many cases, in several processes."""
    numbers = range(first, first + count)
    pieces = [numbers[start : start + PIECE] for start in range(0, count, PIECE)]
    total, started = Comparison(), time.monotonic()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for result in pool.map(partial(compare, program), pieces):
            total.add(result)
    total.seconds = time.monotonic() - started
    return total


def lines(total: Comparison) -> Iterator[str]:
    """Say what came of it."""
    standings = ", ".join(
        f"{count} {standing}" for standing, count in sorted(total.standings.items())
    )
    yield f"{total.cases} fuzzed proofs in {total.seconds:.0f} s: {standings}; {len(total.differing)} differ"
    for number, name, our, their in total.differing[:10]:
        yield f"case {number}, {name}"
        yield f"  ours   {_difference(our, their)}"
        yield f"  theirs {_difference(their, our)}"


def _difference(said: Said, other: Said) -> str:
    return "; ".join(
        f"{key}: {_only(value, other.get(key))}"
        for key, value in said.items()
        if value != other.get(key)
    )


def _only(value: object, other: object) -> object:
    if isinstance(value, list) and isinstance(other, list):
        return [entry for entry in value if entry not in other] or f"{len(value)} entries"
    return value


def main(arguments: Iterable[str]) -> int:
    """Run a campaign from the command line; 1 if the verifiers differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args(list(arguments))
    total = campaign(built(), chosen.count, first=chosen.first, processes=chosen.processes)
    print("\n".join(lines(total)))
    return 1 if total.differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
