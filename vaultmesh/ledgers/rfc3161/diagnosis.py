"""Examines time-stamp authorities: each is asked for one time stamp of a random hash, which is judged and thrown away."""

import asyncio
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from vaultmesh.domain.diagnosis import Diagnosis, ok, warning, wrong
from vaultmesh.domain.failures import AnchorError
from vaultmesh.domain.freshness import in_words
from vaultmesh.ledgers.rfc3161.authority import Authority
from vaultmesh.ledgers.rfc3161.core.judge import TokenReport, judge
from vaultmesh.ledgers.rfc3161.core.token import NONCE_BITS, build_request
from vaultmesh.ledgers.rfc3161.core.trust import (
    CHAIN,
    ROOT,
    Pinned,
    ends_in_use,
    first_to_end,
)
from vaultmesh.ledgers.rfc3161.settings import TsaSettings

SOON = timedelta(days=30)
"""A certificate that ends within it is warned of."""
FAR_CLOCK = timedelta(seconds=10)
"""Clocks that differ by more are warned of."""
_COMMITMENT_BYTES = 32
_NOT_IN_FORCE = ("not valid at validation time", "was not in force")
"""How a certificate is refused that has ended, or has not begun."""
_ENDED = "tell its operator that a certificate of its chain has ended, or use another authority; with a wrong clock here, set that"
_UNKNOWN = (
    "put its root, and intermediates that it leaves out, into trustBundle, or use another authority"
)


class TsaDiagnosis:
    """One examination of one target."""

    def __init__(
        self, target: str, authorities: Sequence[Authority], settings: TsaSettings
    ) -> None:
        """Ask these, once each."""
        self._target = target
        self._authorities = authorities
        self._settings = settings

    async def lines(self, pinned: Pinned) -> list[Diagnosis]:
        """Return a line for each thing that was looked at, by these pinned roots."""
        now = datetime.now(UTC)
        asked = await asyncio.gather(
            *(self._authority(authority, pinned) for authority in self._authorities)
        )
        in_use = [end for _, end in asked if end is not None]
        end = min(in_use, default=None) or first_to_end(pinned.roots, now)
        assert end is not None  # noqa: S101 - settings refuse a file without roots
        root = _until(self._target, "pinned root", end, now)
        return [root, *(line for lines, _ in asked for line in lines)]

    async def _authority(
        self, authority: Authority, pinned: Pinned
    ) -> tuple[list[Diagnosis], datetime | None]:
        """Return what an authority shows, and when the root ends that its time stamp leads to, if it leads to one."""
        part = f"{self._target} {authority.label}"
        commitment = secrets.token_bytes(_COMMITMENT_BYTES)
        request = build_request(commitment, secrets.randbits(NONCE_BITS), self._settings.policy)
        try:
            reply, window = await authority.ask(request)
        except AnchorError as error:
            return [wrong(part, "answers", str(error), "check url, and the network between")], None
        report = await asyncio.to_thread(
            judge,
            reply,
            commitment,
            pinned,
            request=request,
            policy=self._settings.policy,
            window=window,
            allows_sha1=self._settings.allow_sha1,
        )
        if not report.sound:
            mend = _ENDED if any(text in report.problems for text in _NOT_IN_FORCE) else _UNKNOWN
            return [wrong(part, "time stamp", report.problems, mend)], None
        ends = ends_in_use(report.path, pinned)
        return [
            ok(part, "time stamp", f"good, signed by {report.authority}"),
            _clock(part, report, window.received),
            _until(part, "signer's certificate", ends[CHAIN], datetime.now(UTC)),
        ], ends[ROOT]


def _clock(part: str, report: TokenReport, received: datetime) -> Diagnosis:
    """Say how far an authority's clock and this machine's are apart."""
    assert report.token is not None  # noqa: S101 - a sound report has one
    apart = report.token.gen_time - received
    detail = f"{apart.total_seconds():+.1f} s from this machine's"
    if abs(apart) <= FAR_CLOCK:
        return ok(part, "clock", detail)
    return warning(
        part, "clock", detail, "compare this machine's clock with another one (chronyc tracking)"
    )


def _until(part: str, check: str, ends: datetime, now: datetime) -> Diagnosis:
    """Say what the end of a certificate means."""
    left = ends - now
    detail = f"valid until {ends:%Y-%m-%d}, {in_words(left)} from now"
    if left <= timedelta(0):
        mend = (
            "tokens from now on prove nothing: add the authority's newer certificate to trustBundle"
        )
        return wrong(part, check, f"ended on {ends:%Y-%m-%d}", mend)
    if left < SOON:
        mend = "ask the authority for its next one, and add it to trustBundle"
        return warning(part, check, detail, mend)
    return ok(part, check, detail)
