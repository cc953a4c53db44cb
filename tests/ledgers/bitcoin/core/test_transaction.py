"""Bitcoin's bytes: the first block, counts, sizes, scripts, branches and headers, and every way to forge them."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.ledgers.bitcoin.core.blocks import (
    MOST_LEVELS,
    Block,
    Header,
    branch_root,
    height_in,
    merkle_branch,
    merkle_root,
    require_chain,
)
from vaultmesh.ledgers.bitcoin.core.proof import BitcoinEvidence, prove
from vaultmesh.ledgers.bitcoin.core.transaction import (
    MOST_SATS,
    Outpoint,
    Reader,
    Transaction,
    TxInput,
    TxOutput,
    commitment_script,
    committed_by,
    compact_size,
    double_sha256,
    dust_sats,
    parse_hash,
    shown_hash,
)

ROOT = bytes.fromhex("50298939464ed02cbf2b587250a55746b3422e133ac4f09b7e2b07869023bc9e")
GENESIS_HASH = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
GENESIS_HEADER = bytes.fromhex(
    "01000000" + "00" * 32 + "3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a"
    "29ab5f49ffff001d1dac2b7c"
)
GENESIS_TX = (
    "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d"
    "0104455468652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66"
    "207365636f6e64206261696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe55"
    "48271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba"
    "0b8d578a4c702b6bf11d5fac00000000"
)
GENESIS_TXID = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
EASIEST = 0x207FFFFF
"""The target of a private network: every second hash meets it."""

hashes = st.binary(min_size=32, max_size=32)
outputs = st.builds(TxOutput, st.integers(0, MOST_SATS // 10), st.binary(max_size=60))
inputs = st.builds(
    TxInput,
    st.builds(Outpoint, hashes.map(shown_hash), st.integers(0, 2**32 - 1)),
    st.binary(max_size=40),
    st.integers(0, 2**32 - 1),
    st.lists(st.binary(max_size=80), max_size=3).map(tuple),
)
transactions = st.builds(
    Transaction,
    st.lists(inputs, min_size=1, max_size=4).map(tuple),
    st.lists(outputs, min_size=1, max_size=4).map(tuple),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)


def _anchor(commitment: bytes = ROOT) -> Transaction:
    spent = TxInput(Outpoint("11" * 32, 1), witness=(b"\x30" * 71, b"\x02" * 33))
    change = TxOutput(99_000, b"\x00\x14" + b"\x07" * 20)
    return Transaction((spent,), (TxOutput(0, commitment_script(commitment)), change))


def _mined(root: bytes, previous: str = "00" * 32, bits: int = EASIEST) -> Header:
    """Find a header with work."""
    for nonce in range(1000):
        start = b"\x04\x00\x00\x00" + parse_hash(previous) + root
        raw = start + (1_700_000_000).to_bytes(4, "little") + bits.to_bytes(4, "little")
        header = Header.parse(raw + nonce.to_bytes(4, "little"))
        if header.has_work:
            return header
    raise AssertionError("no nonce found")


def _coinbase(script: bytes) -> Transaction:
    spent = TxInput(Outpoint("00" * 32, 0xFFFFFFFF), script + b"more")
    return Transaction((spent,), (TxOutput(50, b"\x51"),))


def bitcoin_evidence(on_top: int = 2) -> BitcoinEvidence:
    transaction = _anchor()
    coinbase = _coinbase(b"\x03\x70\x11\x01")
    txids = [coinbase.txid, secrets.token_hex(32), transaction.txid, "ab" * 32, "cd" * 32]
    chain = [_mined(merkle_root(txids))]
    for number in range(on_top):
        chain.append(_mined(bytes([number]) * 32, chain[-1].hash))
    return BitcoinEvidence(
        network="regtest",
        genesis="00" * 32,
        raw_transaction=transaction.serialised().hex(),
        block_hash=chain[0].hash,
        header=chain[0].raw.hex(),
        merkle_branch=merkle_branch(txids, 2),
        position=2,
        coinbase=coinbase.serialised().hex(),
        coinbase_branch=merkle_branch(txids, 0),
        headers=[one.raw.hex() for one in chain[1:]],
    )


def test_the_first_block_reads_as_everybody_knows_it() -> None:
    header, coinbase = Header.parse(GENESIS_HEADER), Transaction.parse_hex(GENESIS_TX)
    assert (header.hash, coinbase.txid) == (GENESIS_HASH, GENESIS_TXID)
    assert header.has_work
    assert header.time.isoformat() == "2009-01-03T18:15:05+00:00"
    assert header.work == 0x100010001
    assert coinbase.serialised().hex() == GENESIS_TX
    assert coinbase.vsize == len(GENESIS_TX) // 2
    assert merkle_root([GENESIS_TXID]) == header.merkle_root
    assert branch_root(coinbase, 0, []) == header.merkle_root


@given(transactions)
def test_what_is_written_is_read_again(transaction: Transaction) -> None:
    assert Transaction.parse(transaction.serialised()) == transaction
    bare = Transaction.parse(transaction.serialised(witness=False))
    assert bare.txid == transaction.txid


@given(transactions, st.data())
def test_no_part_of_a_transaction_and_nothing_beyond_it_is_one(
    transaction: Transaction, data: st.DataObject
) -> None:
    whole = transaction.serialised()
    cut = data.draw(st.integers(0, len(whole) - 1))
    for wrong in (whole[:cut], whole + b"\x00"):
        try:
            read = Transaction.parse(wrong)
        except InvalidValue:
            continue
        assert read.serialised() == wrong, "another reading must be the bytes' own"
        assert read != transaction


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read = Transaction.parse(data)
    except InvalidValue:
        return
    assert read.serialised() == data


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0, "00"),
        (252, "fc"),
        (253, "fdfd00"),
        (65_536, "fe00000100"),
        (2**32, "ff" + "00000000" + "01000000"),
    ],
)
def test_counts_have_one_form(number: int, written: str) -> None:
    assert compact_size(number).hex() == written
    assert Reader(bytes.fromhex(written)).count() == number


@pytest.mark.parametrize("written", ["fdfc00", "fe00ff0000", "ffff00000000000000", "fd01"])
def test_counts_in_another_form_are_refused(written: str) -> None:
    with pytest.raises(InvalidValue):
        Reader(bytes.fromhex(written)).count()


def test_an_anchor_with_a_witness_key_has_154_and_a_half_virtual_bytes() -> None:
    assert _anchor().vsize == 155
    assert len(_anchor().serialised(witness=False)) == 127


@pytest.mark.parametrize(
    ("script", "sats"),
    [
        ("0014" + "00" * 20, 294),
        ("5120" + "00" * 32, 330),
        ("76a914" + "00" * 20 + "88ac", 546),
        ("a914" + "00" * 20 + "87", 540),
    ],
)
def test_dust_is_what_nodes_call_dust(script: str, sats: int) -> None:
    assert dust_sats(bytes.fromhex(script)) == sats


def test_a_commitment_has_exactly_one_form() -> None:
    script = commitment_script(ROOT)
    assert script.hex() == "6a225256" + ROOT.hex()
    assert committed_by(script) == ROOT
    with pytest.raises(InvalidValue):
        commitment_script(ROOT[:31])


@pytest.mark.parametrize(
    "script",
    [
        "6a4c225256" + ROOT.hex(),  # another push
        "6a225257" + ROOT.hex(),  # another tag
        "6a235256" + ROOT.hex() + "00",
        "6a225256" + ROOT.hex() + "00",
        "6a26000000005256" + ROOT.hex(),  # found as a part only
        "515256" + ROOT.hex(),
        "6a215256" + ROOT.hex()[:62],
        "",
    ],
)
def test_what_only_contains_a_commitment_is_none(script: str) -> None:
    assert committed_by(bytes.fromhex(script)) is None


def test_an_output_with_money_commits_to_nothing() -> None:
    one = _anchor()
    paid = Transaction(one.inputs, (TxOutput(1, commitment_script(ROOT)), one.outputs[1]))
    assert (one.commitments, paid.commitments) == ([ROOT], [])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 33])
def test_every_branch_leads_to_the_root(count: int) -> None:
    own = _anchor()
    for position in range(count):
        txids = [secrets.token_hex(32) for _ in range(count)]
        txids[position] = own.txid
        branch = merkle_branch(txids, position)
        assert branch_root(own, position, branch) == merkle_root(txids)
        for other in set(range(1 << len(branch))) - {position}:
            try:
                assert branch_root(own, other, branch) != merkle_root(txids)
            except InvalidValue:
                continue


def test_a_branch_is_bounded_and_its_position_fits() -> None:
    own = _anchor()
    with pytest.raises(InvalidValue, match="does not fit"):
        branch_root(own, 0, ["11" * 32] * (MOST_LEVELS + 1))
    for position in (-1, 4):
        with pytest.raises(InvalidValue, match="does not fit"):
            branch_root(own, position, ["11" * 32] * 2)


def test_a_hash_beside_itself_on_the_left_is_refused() -> None:
    own = _anchor()
    with pytest.raises(InvalidValue, match="paired with itself"):
        branch_root(own, 1, [own.txid])
    assert branch_root(own, 0, [own.txid]) == double_sha256(2 * parse_hash(own.txid))


def _of_64_bytes() -> Transaction:
    small = Transaction((TxInput(Outpoint("22" * 32, 0)),), (TxOutput(0, b"\x51" * 4),))
    assert len(small.serialised()) == 64
    return small


def test_a_transaction_of_64_bytes_is_refused() -> None:
    with pytest.raises(InvalidValue, match="64 bytes"):
        branch_root(_of_64_bytes(), 0, [])


def test_a_transaction_that_poses_as_a_pair_of_hashes_is_refused() -> None:
    """The shape of CVE-2017-12842: a made-up leaf below a real transaction of 64 bytes.

    Finding a leaf whose id is the second half takes work that an attacker has and a test has not, so the half is
    given here as a sibling, and the other way round.
    """
    pair = _of_64_bytes().serialised()
    own = _anchor()

    class Posing(Transaction):
        @property
        def txid(self) -> str:
            return shown_hash(pair[32:])

    posing = Posing(own.inputs, own.outputs)
    with pytest.raises(InvalidValue, match="reads as a transaction"):
        branch_root(posing, 1, [shown_hash(pair[:32])])


def _block(*transactions: Transaction) -> bytes:
    header = _mined(merkle_root([one.txid for one in transactions]))
    written = (one.serialised() for one in transactions)
    return header.raw + compact_size(len(transactions)) + b"".join(written)


def test_a_whole_block_is_read_with_all_its_transactions() -> None:
    first, own = _coinbase(b"\x51"), _anchor()
    assert Block.parse(_block(first, own)).transactions == (first, own)
    genesis = Block.parse(GENESIS_HEADER + b"\x01" + bytes.fromhex(GENESIS_TX))
    assert genesis.header.hash == GENESIS_HASH


def test_a_block_with_one_thing_changed_shows_no_transaction() -> None:
    first, own, other = _coinbase(b"\x51"), _anchor(), _anchor(b"\x09" * 32)
    whole = _block(first, own)
    swapped = whole.replace(own.serialised(), other.serialised())
    lazy = whole[:72] + b"\x00" * 4 + whole[76:]
    for wrong, reason in (
        (swapped, "are not those of block"),
        (whole + b"\x00", "not exactly one block"),
        (whole[:-1], "too early"),
        (whole[:80] + b"\x00", "can't hold 0"),
        (_block(first, _of_64_bytes()), "64 bytes"),
        (lazy, "lacks the work"),
        (b"", "too early"),
    ):
        with pytest.raises(InvalidValue, match=reason):
            Block.parse(wrong)


def test_a_receipt_proves_its_root_without_a_node() -> None:
    evidence = BitcoinEvidence.read(bitcoin_evidence().document())
    proven = prove(evidence)
    assert proven.transaction.commitments == [ROOT]
    assert (proven.depth, proven.header.hash) == (3, evidence.block_hash)
    assert proven.height == 70_000
    assert Header.parse(bytes.fromhex(evidence.headers[-1])).hash == proven.hashes[-1]
    assert proven.work == 3 * proven.header.work


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"position": 3}, "branch"),
        ({"merkle_branch": ["11" * 32] * 3}, "branch"),
        ({"block_hash": "11" * 32}, "header is that of"),
        ({"raw_transaction": _anchor(b"\x09" * 32).serialised().hex()}, "branch"),
        ({"raw_transaction": "00"}, "early"),
        ({"coinbase": _anchor().serialised().hex()}, "first transaction"),
        ({"coinbase_branch": ["11" * 32] * 3}, "first transaction"),
        ({"header": "00" * 79}, "80 bytes"),
        ({"headers": [GENESIS_HEADER.hex()]}, "does not follow"),
        ({"merkle_branch": ["XY"] * 3}, "hex"),
    ],
)
def test_a_receipt_with_one_thing_changed_proves_nothing(
    change: dict[str, object], reason: str
) -> None:
    with pytest.raises(InvalidValue, match=reason):
        prove(bitcoin_evidence().model_copy(update=change))


@pytest.mark.parametrize(
    ("script", "height"),
    [("51", 1), ("60", 16), ("0111", 17), ("02e803", 1000), ("03ffff7f", 8_388_607)],
)
def test_a_block_says_its_number(script: str, height: int) -> None:
    assert height_in(_coinbase(bytes.fromhex(script))) == height


@pytest.mark.parametrize("script", ["05ffffffff7f", "00"])
def test_a_block_without_a_number_is_refused(script: str) -> None:
    with pytest.raises(InvalidValue, match="does not say"):
        height_in(_coinbase(bytes.fromhex(script)))
    with pytest.raises(InvalidValue, match="not the first"):
        height_in(_anchor())


def test_headers_without_work_are_refused() -> None:
    header = Header.parse(GENESIS_HEADER[:-4] + b"\x00" * 4)
    with pytest.raises(InvalidValue, match="lacks the work"):
        require_chain([header])


@pytest.mark.parametrize("bits", [0x1D800000, 0x2300FFFF, 0x00000000])
def test_targets_without_sense_are_met_by_nothing(bits: int) -> None:
    raw = GENESIS_HEADER[:72] + bits.to_bytes(4, "little") + GENESIS_HEADER[76:]
    assert not Header.parse(raw).has_work
    assert Header.parse(raw).work == 0


def test_evidence_that_lacks_something_names_the_key_only() -> None:
    document = bitcoin_evidence().document() | {"header": 5}
    del document["position"]
    with pytest.raises(InvalidValue, match="header, position") as refused:
        BitcoinEvidence.read(document)
    assert "5" not in str(refused.value)


def test_hashes_are_shown_backwards() -> None:
    digest = double_sha256(b"")
    assert parse_hash(shown_hash(digest)) == digest
    with pytest.raises(InvalidValue):
        parse_hash("AB" * 32)
