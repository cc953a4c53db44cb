"""The one table of ledger schemes: a new ledger is a room in `vaultmesh/ledgers/` and a row here."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EventAnchorForm:
    """How the `anchor` of an event receipt looks beyond `chain`, `tx`, `block` and `ts`."""

    memo: str = ""
    contract_key: str = ""
    """Key of the contract in the scheme's evidence."""
    policy_key: str = ""
    """Key of the policy that the memo names."""
    signature_key: str = ""
    """Key of what `sig` holds."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """What is known of one scheme without its room: names, forms, and where its room is."""

    driver: str
    """Module with `Settings` (the keys of its section in anchors.yaml) and `open_target`; imported when needed."""
    proof: str
    """Module with `find`, which says what a receipt proves offline; imported when needed."""
    chain: str
    """`chain` of its receipts."""
    tx_scheme: str
    """What `tx` in event receipts begins with."""
    evidence: str
    """Key of the scheme's own part of `evidence`."""
    tx_ref: re.Pattern[str]
    rank: int
    """Whose evidence an event receipt shows: lower ones win."""
    has_blocks: bool = True
    """Whether there are blocks, depths and a transaction hash; an authority has none of them."""
    event_anchor: EventAnchorForm = EventAnchorForm()
    unit: str = ""
    """Least unit of what is paid there, as metrics name it; empty where nothing is paid."""
    bid_unit: str = ""
    """Unit of a bid, likewise."""


SCHEMES: dict[str, Scheme] = {
    "btc": Scheme(
        driver="vaultmesh.ledgers.bitcoin.driver",
        proof="vaultmesh.ledgers.bitcoin.core.offline",
        chain="BTC",
        tx_scheme="btc",
        evidence="btc",
        tx_ref=re.compile(r"[0-9a-f]{64}"),
        rank=0,
        event_anchor=EventAnchorForm(memo="OP_RETURN:RV+sha256"),
        unit="sat",
        bid_unit="sat_per_vbyte",
    ),
    "eip155": Scheme(
        driver="vaultmesh.ledgers.evm.driver",
        proof="vaultmesh.ledgers.evm.core.offline",
        chain="EVM",
        tx_scheme="evm",
        evidence="evm",
        tx_ref=re.compile(r"0x[0-9a-f]{64}"),
        rank=1,
        event_anchor=EventAnchorForm(contract_key="contract"),
        unit="wei",
        bid_unit="wei_per_gas",
    ),
    "rfc3161": Scheme(
        driver="vaultmesh.ledgers.rfc3161.driver",
        proof="vaultmesh.ledgers.rfc3161.core.offline",
        chain="TSA",
        tx_scheme="tsa",
        evidence="rfc3161",
        tx_ref=re.compile(r"serial:[0-9a-f]+"),
        rank=2,
        has_blocks=False,
        event_anchor=EventAnchorForm(policy_key="policyOID", signature_key="token"),
    ),
}
"""Rows by the target's scheme."""
