"""A ledger that the product does not know: a notary that signs with a local key. Its room is here, this is its row."""

import re

from vaultmesh.domain.schemes import SCHEMES, Scheme

NAME = "notary"
ROW = Scheme(
    driver="tests.ledgers.notary.driver",
    proof="tests.ledgers.notary.proof",
    chain="NOTARY",
    tx_scheme="notary",
    evidence="notary",
    tx_ref=re.compile(r"entry:[0-9a-f]{32}"),
    rank=3,
    has_blocks=False,
)


def add() -> None:
    """Add the row to the table."""
    SCHEMES[NAME] = ROW
