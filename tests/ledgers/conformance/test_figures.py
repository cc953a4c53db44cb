"""What metrics show of every ledger: what an anchor paid, what the key can still pay, and how its endpoints answer."""

from datetime import UTC, datetime

from tests.ledgers.conformance.trial import Trial
from vaultmesh.domain.schemes import SCHEMES


async def test_what_an_anchor_paid_is_what_the_balance_lost(trial: Trial) -> None:
    before = await trial.target.figures()
    final, view = await trial.final()
    after = await trial.target.figures()
    paid = await trial.target.fee_paid(view.tx_ref, final.terms)
    if not SCHEMES[trial.bench.TARGET.scheme].unit:
        assert (before.balance, before.bid, paid) == (None, None, None)
        assert min(after.ends.values()) > datetime.now(UTC)
        assert {"root", "chain"} <= after.ends.keys()
        assert trial.target.tally.clock_skew is not None
        return
    assert before.balance is not None
    assert after.balance is not None
    assert paid == before.balance - after.balance > 0
    assert after.bid is not None
    assert after.anchors is not None
    assert 0 < after.anchors * after.bid < after.balance
    assert not after.is_cap_reached


async def test_each_endpoint_is_counted_by_its_host_from_the_start_and_shows_no_secret(
    trial: Trial,
) -> None:
    counted = trial.target.tally.endpoints
    hosts = set(counted)
    assert hosts
    trial.texts += hosts
    await trial.final()
    assert set(counted) == hosts
    assert sum(sum(each.durations.buckets) for each in counted.values()) > 0
    assert sum(each.errors for each in counted.values()) == 0


async def test_requests_to_a_ledger_that_is_gone_are_errors_of_its_host(trial: Trial) -> None:
    section = {**trial.section}
    gone = "http://127.0.0.1:9"
    section |= {key: gone for key in ("rpcUrl", "url") if key in section}
    section |= {key: [gone] for key in ("rpcUrls", "urls") if key in section}
    target = trial.bench.open(section)
    try:
        await target.probe()
    except Exception as error:  # noqa: BLE001 - what it raises is another test's matter
        assert "127.0.0.1:9" in str(error)
    assert target.tally.endpoints["127.0.0.1:9"].errors > 0
    await target.close()
