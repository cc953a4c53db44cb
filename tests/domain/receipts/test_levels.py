"""How far the trust in a batch has grown, per ledger."""

from datetime import UTC, datetime

from tests.domain.receipts.test_receipt import BTC, EVM, TSA, read
from vaultmesh.domain.receipts.levels import Level, Levels, Owed, Seen, levels_of, next_level
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.target import Target

NAMESPACE = "dao:example"
CREATED = datetime(2026, 1, 15, 9, 0, tzinfo=UTC)
IN_BLOCK = datetime(2026, 1, 15, 10, 0, tzinfo=UTC)
LOOKED = datetime(2026, 1, 15, 11, 2, 0, 250_000, tzinfo=UTC)
TARGETS = [Target.parse(one) for one in ("eip155:31337", "btc:regtest", "rfc3161:tsa")]
OWED = Owed(NAMESPACE, TARGETS, CREATED)
OBSERVED = {"observedDepth": 2, "requiredDepth": 6, "state": "observed"}
REORGED = {"observedDepth": 0, "requiredDepth": 6, "state": "reorged"}


def levels(*receipts: AnchorReceipt, owed: Owed = OWED, verified: bool = True) -> Levels:
    return levels_of([Seen(one, verified) for one in receipts], [owed])


def proven(found: Levels) -> list[tuple[str, Level, datetime, datetime]]:
    return [(str(one.target), one.level, one.since, one.at) for one in found.proven]


def awaited(found: Levels) -> list[tuple[str, Level, datetime | None]]:
    return [(str(one.target), one.level, one.since) for one in found.awaited]


def test_without_receipts_every_target_is_awaited_since_the_batch_was_made() -> None:
    found = levels()
    assert proven(found) == []
    assert awaited(found) == [
        ("btc:regtest", Level.INCLUDED, CREATED),
        ("eip155:31337", Level.INCLUDED, CREATED),
        ("rfc3161:tsa", Level.TOKEN, CREATED),
    ]


def test_trust_grows_from_token_over_inclusion_to_finality() -> None:
    found = levels(read(TSA))
    assert proven(found) == [("rfc3161:tsa", Level.TOKEN, IN_BLOCK, IN_BLOCK)]
    assert [one[:2] for one in awaited(found)] == [
        ("btc:regtest", Level.INCLUDED),
        ("eip155:31337", Level.INCLUDED),
    ]
    found = levels(read(TSA), read(BTC, finality=OBSERVED), read(EVM))
    assert proven(found) == [
        ("btc:regtest", Level.INCLUDED, IN_BLOCK, IN_BLOCK),
        ("eip155:31337", Level.FINAL, LOOKED, IN_BLOCK),
        ("rfc3161:tsa", Level.TOKEN, IN_BLOCK, IN_BLOCK),
    ]
    assert awaited(found) == [("btc:regtest", Level.FINAL, IN_BLOCK)]
    assert found.awaited[0].view.text == "final, 2 of 6, since 2026-01-15T10:00:00Z"
    found = levels(read(TSA), read(BTC), read(EVM))
    assert awaited(found) == []
    assert {one.level for one in found.proven} == {Level.TOKEN, Level.FINAL}


def test_an_anchor_that_left_its_chain_proves_nothing_and_is_awaited_since_that_was_seen() -> None:
    found = levels(read(BTC, status="reorged", finality=REORGED), read(EVM), read(TSA))
    assert "btc:regtest" not in [one[0] for one in proven(found)]
    assert awaited(found) == [("btc:regtest", Level.INCLUDED, LOOKED)]
    assert found.awaited[0].depth is None
    assert "left the chain" in found.awaited[0].view.text


def test_an_anchor_that_an_operator_ended_is_owed_since_the_batch_was_made() -> None:
    failed = read(BTC, status="failed", finality=OBSERVED)
    found = levels(failed, read(EVM), read(TSA))
    assert awaited(found) == [("btc:regtest", Level.INCLUDED, CREATED)]
    missing = next_level(failed)
    assert missing is not None
    assert missing.since == LOOKED


def test_a_receipt_that_was_not_verified_proves_nothing() -> None:
    found = levels(read(BTC), read(EVM), read(TSA), verified=False)
    assert proven(found) == []
    assert awaited(found) == awaited(levels())
    assert {one.reason for one in found.awaited} == {"its receipt was not verified"}


def test_a_target_that_no_cadence_has_any_more_still_proves() -> None:
    found = levels(read(EVM), owed=Owed(NAMESPACE, TARGETS[2:], CREATED))
    assert [one[:2] for one in proven(found)] == [("eip155:31337", Level.FINAL)]
    assert awaited(found) == [("rfc3161:tsa", Level.TOKEN, CREATED)]


def test_the_receipt_of_one_namespace_answers_for_no_other() -> None:
    other = Owed("fin:other", TARGETS[:1])
    found = levels_of([Seen(read(EVM), verified=True)], [Owed(NAMESPACE, TARGETS[:1]), other])
    assert [one.namespace for one in found.proven] == [NAMESPACE]
    assert [(one.namespace, one.since) for one in found.awaited] == [("fin:other", None)]
    assert found.awaited[0].view.text == "included, since an unknown time"


def test_a_target_of_two_cadences_is_awaited_once() -> None:
    assert len(levels(owed=Owed(NAMESPACE, [TARGETS[0], TARGETS[0]], CREATED)).awaited) == 1


def test_the_document_holds_times_of_rfc_3339_and_depths() -> None:
    assert levels(read(BTC, finality=OBSERVED), read(TSA), owed=Owed(NAMESPACE, ())).document() == {
        "proven": [
            {
                "namespace": NAMESPACE,
                "target": "btc:regtest",
                "level": "included",
                "since": "2026-01-15T10:00:00Z",
                "at": "2026-01-15T10:00:00Z",
            },
            {
                "namespace": NAMESPACE,
                "target": "rfc3161:tsa",
                "level": "token",
                "since": "2026-01-15T10:00:00Z",
                "at": "2026-01-15T10:00:00Z",
            },
        ],
        "awaited": [
            {
                "namespace": NAMESPACE,
                "target": "btc:regtest",
                "level": "final",
                "since": "2026-01-15T10:00:00Z",
                "depth": 2,
                "required_depth": 6,
                "reason": "",
            }
        ],
    }
