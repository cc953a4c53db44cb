"""Defines what a verification finds, and what the user may trust.

1. A check holds, is wrong, or stays open: what the receipt carries and the user trusts does not decide it.
2. Nothing is proven while a check is open; nothing is consistent while one is wrong.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Found(StrEnum):
    """What a check came to."""

    HOLDS = "holds"
    OPEN = "open"
    """It can't be said from what is carried and trusted."""
    WRONG = "wrong"


class Standing(StrEnum):
    """What all checks together came to."""

    PROVEN = "proven"
    CONSISTENT = "consistent"
    """Nothing is wrong, but something is open: not proven."""
    REFUTED = "refuted"


TRUSTED = "trusted "
"""Names of checks that only the user's trust decides begin so."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked at, and what came of it."""

    name: str
    found: Found
    detail: str

    @property
    def passed(self) -> bool:
        """Whether it holds."""
        return self.found is Found.HOLDS


@dataclass(frozen=True, slots=True)
class Trust:
    """What the user states; nothing is trusted by itself."""

    blocks: frozenset[str] = frozenset()
    """Hashes of EVM blocks that are final: `0x` and lower-case hex."""
    headers: frozenset[str] = frozenset()
    """Hashes of Bitcoin blocks, as block explorers write them: lower-case hex."""
    authorities: tuple[bytes, ...] = ()
    """Certificates of time-stamping roots: PEM files as they are."""
    further: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    """What is trusted in ledgers of other schemes, by scheme: files as they are."""


@dataclass(frozen=True, slots=True)
class SchemeFindings:
    """What the module of one scheme found out about a receipt."""

    checks: tuple[Check, ...]
    """In the order in which they were made."""
    when: str
    """By when the commitment was in the ledger, and whose clock says so."""
    trust: str
    """What it rests on."""
    caveat: str = ""
    """What is weak about it, whoever is trusted; empty if nothing is."""
    place: str = ""
    """Where on the ledger; empty if the evidence does not say it."""


@dataclass(frozen=True, slots=True)
class LedgerPart:
    """What one ledger proves of a receipt or event."""

    network: str
    """Such as `eip155:8453`."""
    place: str
    """Where on the ledger: a block, a transaction, a serial number."""
    when: str
    """By when the commitment was in the ledger, and whose clock says so; empty if that can't be said."""
    trust: str
    """What the proof rests on, whether the user states it or not; empty if that can't be said."""
    verdict: "Verdict"

    @property
    def summary(self) -> str:
        """One sentence: what is proven, or why it is not, also what no trust would mend."""
        verdict = self.verdict
        if verdict.proven:
            return f"{verdict.standing}: {verdict.statement}"
        reasons = [check.detail for check in lacking(verdict.checks)]
        if verdict.standing is not Standing.REFUTED and self.trust and not reasons:
            reasons.append(f"what is carried proves it under {self.trust}")
        return "; ".join(filter(None, (verdict.statement, *reasons, verdict.caveat)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about one receipt or event, live or offline."""

    checks: tuple[Check, ...]
    standing: Standing
    statement: str
    """One sentence: what is proven, by when and under which trust; or why it is not."""
    caveat: str = ""
    """What is weak about it; part of the statement if it is proven."""
    ledgers: tuple[LedgerPart, ...] = ()
    """What each ledger proves, one entry for each receipt; offline only."""

    @property
    def proven(self) -> bool:
        """Whether it is proven."""
        return self.standing is Standing.PROVEN


def verdict_of(checks: Iterable[Check], statement: str, caveat: str = "") -> Verdict:
    """Return the verdict of checks; `statement` is what they prove, if they prove it, and `caveat` what is weak about it."""
    checks = tuple(checks)
    standing = standing_of(checks)
    said = f"{statement}; {caveat}" if caveat else statement
    if standing is not Standing.PROVEN:
        said = unproven(checks)
    return Verdict(checks, standing, said, caveat)


def with_ledger(verdict: Verdict, network: str, findings: SchemeFindings) -> Verdict:
    """Return a receipt's verdict together with what its one ledger proves."""
    part = LedgerPart(network, findings.place, findings.when, findings.trust, verdict)
    return replace(verdict, ledgers=(part,))


def holds(name: str, detail: str) -> Check:
    """Return a check that holds."""
    return Check(name, Found.HOLDS, detail)


def stays_open(name: str, detail: str) -> Check:
    """Return a check that nothing decides."""
    return Check(name, Found.OPEN, detail)


def wrong(name: str, detail: str) -> Check:
    """Return a check that failed."""
    return Check(name, Found.WRONG, detail)


def holds_if(name: str, detail: str, *, condition: bool) -> Check:
    """Return a check that holds, or is wrong."""
    return holds(name, detail) if condition else wrong(name, detail)


def lacking(checks: Iterable[Check]) -> list[Check]:
    """Return the checks that stay open whatever the user trusts."""
    return [
        check
        for check in checks
        if check.found is Found.OPEN and not check.name.startswith(TRUSTED)
    ]


def standing_of(checks: Iterable[Check]) -> Standing:
    """Return what checks come to together; no checks prove nothing."""
    outcomes = {check.found for check in checks}
    if Found.WRONG in outcomes:
        return Standing.REFUTED
    return Standing.PROVEN if outcomes == {Found.HOLDS} else Standing.CONSISTENT


def unproven(checks: Iterable[Check]) -> str:
    """Return the sentence that says why something is not proven."""
    checks = list(checks)
    failed = [check.name for check in checks if check.found is Found.WRONG]
    if failed:
        return f"not verified: {', '.join(failed)} failed"
    missing = [check.name for check in checks if check.found is Found.OPEN]
    return f"consistent, not proven: open is {', '.join(missing) or 'everything'}"
