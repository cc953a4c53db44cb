"""The rules of bids hold for any market and any caps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.failures import AuthFailure
from vaultmesh.ledgers.evm.anchor_contract import calldata_floor
from vaultmesh.ledgers.evm.fees import Bid, Caps, Market, gwei, next_bid, opening_bid
from vaultmesh.ledgers.evm.node_errors import Meaning, meaning_of
from vaultmesh.ledgers.evm.providers import supported_by
from vaultmesh.ledgers.failures import public_url, shown

WEI = st.integers(0, 10**15)
MARKETS = st.builds(Market, WEI, WEI)
CAPS = st.builds(
    lambda cap, tip: Caps(cap, min(cap, tip)), st.integers(1, 10**15), st.integers(1, 10**15)
)


@given(MARKETS)
def test_the_first_bid_covers_a_doubling_of_the_base_fee(market: Market) -> None:
    bid = opening_bid(market, Caps(10**18, 10**18))
    assert bid.max_fee_wei >= 2 * market.base_fee_wei + bid.tip_wei
    assert bid.tip_wei >= 1


@given(MARKETS, CAPS)
def test_no_first_bid_exceeds_a_cap(market: Market, caps: Caps) -> None:
    try:
        bid = opening_bid(market, caps)
    except AuthFailure:
        assert market.base_fee_wei + min(max(market.tip_wei, 1), caps.tip_wei) > caps.max_fee_wei
        return
    assert bid.tip_wei <= bid.max_fee_wei <= caps.max_fee_wei
    assert bid.tip_wei <= caps.tip_wei
    assert bid.max_fee_wei >= market.base_fee_wei + bid.tip_wei


@given(WEI, WEI, MARKETS, CAPS)
def test_a_replacement_raises_both_fields_by_an_eighth_within_the_caps(
    fee: int, tip: int, market: Market, caps: Caps
) -> None:
    before = Bid(max(fee, tip), tip)
    bid = next_bid(before, market, caps)
    if bid is None:
        over_fee = before.max_fee_wei * 9 > caps.max_fee_wei * 8
        over_tip = before.tip_wei * 9 > caps.tip_wei * 8
        assert over_fee or over_tip
        return
    assert bid.max_fee_wei * 8 >= before.max_fee_wei * 9
    assert bid.tip_wei * 8 >= before.tip_wei * 9
    assert bid.tip_wei > before.tip_wei
    assert bid.tip_wei <= bid.max_fee_wei <= caps.max_fee_wei
    assert bid.tip_wei <= caps.tip_wei


@given(MARKETS)
def test_without_configured_caps_bids_end_at_a_multiple_of_the_market(market: Market) -> None:
    caps = Caps.of(None, None, market)
    bid: Bid | None = opening_bid(market, caps)
    raises = 0
    while bid is not None:
        last, bid, raises = bid, next_bid(bid, market, caps), raises + 1
        assert last.max_fee_wei <= caps.max_fee_wei
    assert 0 < raises < 300


@given(MARKETS)
def test_without_configured_caps_a_suggested_tip_is_bounded(market: Market) -> None:
    bound = max(10 * market.base_fee_wei, 100 * 10**9)
    bid = opening_bid(market, Caps.of(None, None, market))
    assert bid.tip_wei == min(max(market.tip_wei, 1), bound)
    assert Caps.of(None, None, market).max_fee_wei <= 10 * (2 * market.base_fee_wei + bound)


@pytest.mark.parametrize(
    ("max_fee", "tip", "caps"),
    [(7, None, Caps(7, 7)), (7, 3, Caps(7, 3)), (None, 10**12, Caps(10**13 + 20, 10**12))],
)
def test_what_is_configured_is_the_cap(max_fee: int | None, tip: int | None, caps: Caps) -> None:
    assert Caps.of(max_fee, tip, Market(1, 10**15)) == caps


def test_terms_survive_json_readers_that_know_only_doubles() -> None:
    bid = Bid(2**70, 3)
    assert bid.terms == {"maxFeePerGas": str(2**70), "maxPriorityFeePerGas": "3"}
    assert Bid.from_terms(bid.terms) == bid


def test_gwei_are_written_without_rounding() -> None:
    assert [gwei(wei) for wei in (0, 1, 10**9, 1_500_000_000)] == ["0", "0.000000001", "1", "1.5"]


def test_the_calldata_floor_counts_zeros_once_and_others_four_times() -> None:
    assert calldata_floor(bytes(3) + b"\1\1") == 21_000 + 10 * (3 + 8)


def test_no_minority_raises_what_a_quorum_reaches() -> None:
    assert supported_by([5, 999], 2) == 5
    assert supported_by([5, 6, 999], 2) == 6
    assert supported_by([7], 1) == 7


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("transaction already imported", Meaning.KNOWN),
        ("ALREADY_EXISTS: already known", Meaning.KNOWN),
        ("Nonce too low", Meaning.CONSUMED),
        ("Transaction gas price below current base fee", Meaning.FEE_TOO_LOW),
        ("Upfront cost exceeds account balance", Meaning.NO_FUNDS),
        ("InsufficientFunds, Account balance: 0", Meaning.NO_FUNDS),
        ("execution reverted: deaf", Meaning.REVERTED),
        ("header not found", Meaning.BUSY),
        ("unknown transaction type 0x7f", Meaning.UNKNOWN),
        ("", Meaning.UNKNOWN),
        ("something new", Meaning.UNKNOWN),
        ("the method eth_maxPriorityFeePerGas does not exist/is not available", Meaning.MISSING),
        ("Method not found", Meaning.MISSING),
        ("pruned history unavailable", Meaning.PRUNED),
        ("missing trie node 12", Meaning.PRUNED),
        ("50/second request limit reached", Meaning.BUSY),
        ("Temporary internal error. Please retry", Meaning.BUSY),
        ("tx with the same nonce already exists", Meaning.UNKNOWN),
    ],
)
def test_texts_have_their_meaning(text: str, meaning: Meaning) -> None:
    assert meaning_of(-32000, text) is meaning


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (-32601, Meaning.MISSING),
        (-32604, Meaning.MISSING),
        (-32603, Meaning.BUSY),
        (-32005, Meaning.BUSY),
        (-32007, Meaning.BUSY),
        (-32012, Meaning.BUSY),
        (19, Meaning.BUSY),
        (429, Meaning.BUSY),
        (4444, Meaning.PRUNED),
        (-32602, Meaning.UNKNOWN),
    ],
)
def test_a_text_that_is_not_listed_has_the_meaning_of_its_code(code: int, meaning: Meaning) -> None:
    assert meaning_of(code, "something new") is meaning
    assert meaning_of(code, "nonce too low") is Meaning.CONSUMED


def test_foreign_texts_are_shown_without_paths_passwords_bytes_and_markup() -> None:
    text = f"<b>no</b> https://user:pw@example.org:8545/v3/key?x=1 said 0x{'ab' * 80}"
    assert shown(text) == "no https://example.org:8545 said 0x…"
    assert public_url("https://[::1]:1/secret") == "https://[::1]:1"
