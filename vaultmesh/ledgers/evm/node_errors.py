"""Gives the error texts of EVM nodes their meaning; a text that is not listed stays unknown (E5, X4)."""

import re
from enum import StrEnum

from vaultmesh.domain.failures import AnchorError, FailureKind
from vaultmesh.ledgers.failures import shown


class Meaning(StrEnum):
    """What a node meant by an error."""

    KNOWN = "known"
    """The node holds these very bytes already."""
    CONSUMED = "consumed"
    """The nonce is used up."""
    GAP = "gap"
    """An earlier nonce is missing in the node's pool."""
    FEE_TOO_LOW = "fee_too_low"
    """Not taken at this price, or not enough to replace what is in the pool."""
    NO_FUNDS = "no_funds"
    """The account cannot pay."""
    NODE_CAP = "node_cap"
    """The node's own configuration refuses to spend so much."""
    WRONG_CHAIN = "wrong_chain"
    """The bytes are signed for another chain."""
    REVERTED = "reverted"
    """The contract refuses the call."""
    REFUSED = "refused"
    """The node will never take these bytes: gas limit, size, signature."""
    MISSING = "missing"
    """The node does not offer the method."""
    PRUNED = "pruned"
    """The node keeps no blocks, receipts or state that old."""
    BUSY = "busy"
    """The node does not know yet, fails inside, or is asked too often."""
    FORBIDDEN = "forbidden"
    """The provider wants other credentials."""
    UNKNOWN = "unknown"
    """Not in the table."""


TEXTS: tuple[tuple[Meaning, tuple[str, ...]], ...] = (
    (
        Meaning.KNOWN,
        (
            "already known",  # geth, reth, erigon, op-geth
            "known transaction",  # besu
            "alreadyknown",  # nethermind
            "ownnoncealreadyused",  # nethermind
            "already imported",  # anvil
            "existing tx with same hash",  # erigon
        ),
    ),
    (Meaning.CONSUMED, ("nonce too low", "nonce_too_low", "oldnonce")),
    (Meaning.GAP, ("nonce too high", "noncegap", "nonce gap", "nonce is too distant")),
    (
        Meaning.NODE_CAP,
        ("exceeds the configured cap", "tx_feecap_exceeded", "transaction fee cap exceeded"),
    ),
    (
        Meaning.FEE_TOO_LOW,
        (
            "underpriced",  # both the replacement and the plain one
            "feetoolow",  # nethermind, also FeeTooLowToCompete
            "fee too low",
            "max fee per gas less than block base fee",
            "max fee per gas is less than block base fee",
            "gas price below current base fee",  # besu
            "gas price below configured minimum",  # besu
            "gas price too low",
            "could not replace existing tx",  # erigon
        ),
    ),
    (
        Meaning.NO_FUNDS,
        ("insufficient funds", "insufficientfunds", "upfront cost exceeds", "insufficient balance"),
    ),
    (
        Meaning.WRONG_CHAIN,
        (
            "invalid chain id",
            "wrong chain",
            "chainid mismatch",
            "invalidtxchainid",
            "chain id mismatch",
        ),
    ),
    (
        Meaning.REVERTED,
        ("execution reverted", "vm execution error", "transaction reverted", "revert"),
    ),
    (
        Meaning.REFUSED,
        (
            "intrinsic gas",
            "exceeds block gas limit",
            "gas limit exceed",
            "gaslimitexceeded",
            "exceeds max transaction gas limit",
            "gas limit too high",
            "oversized data",
            "invalid sender",
            "transaction type not supported",
            "rlp",
        ),
    ),
    (
        Meaning.PRUNED,
        (
            "pruned",
            "missing trie node",
            "historical state",
            "state not available",
            "state is not available",
        ),
    ),
    (
        Meaning.MISSING,
        (
            "method not found",
            "method not supported",
            "unsupported method",
            "does not exist/is not available",  # geth and its family
            "method is not supported",
            "method is not available",
            "rpc method is not whitelisted",
        ),
    ),
    (
        Meaning.BUSY,
        (
            "rate limit",
            "request limit",
            "limited to",
            "limit reached",
            "quota",
            "throttl",
            "overloaded",
            "internal error",
            "please retry",
            "too many requests",
            "limit exceeded",
            "capacity",
            "header not found",
            "block not found",
            "unknown block",
            "indexing is in progress",
            "syncing",
            "txpool is full",
            "pool is full",
            "timeout",
            "timed out",
            "try again",
            "unavailable",
        ),
    ),
    (Meaning.FORBIDDEN, ("unauthorized", "forbidden", "invalid api key", "invalid project id")),
)
"""In order: the first meaning of which a text begins a word in the node's, ignoring case, is taken."""
_PATTERNS = tuple(
    (meaning, re.compile(rf"(?<![a-z])(?:{'|'.join(map(re.escape, texts))})", re.IGNORECASE))
    for meaning, texts in TEXTS
)

KINDS = {
    Meaning.NO_FUNDS: FailureKind.AUTH,
    Meaning.NODE_CAP: FailureKind.AUTH,
    Meaning.FORBIDDEN: FailureKind.AUTH,
    Meaning.WRONG_CHAIN: FailureKind.VALIDATION,
    Meaning.REVERTED: FailureKind.VALIDATION,
    Meaning.REFUSED: FailureKind.VALIDATION,
    Meaning.PRUNED: FailureKind.NETWORK,
    Meaning.BUSY: FailureKind.NETWORK,
}
CODES = {
    -32601: Meaning.MISSING,
    -32604: Meaning.MISSING,
    4444: Meaning.PRUNED,  # EIP-4444
    -32603: Meaning.BUSY,
    -32005: Meaning.BUSY,
    -32007: Meaning.BUSY,
    -32012: Meaning.BUSY,
    19: Meaning.BUSY,
    429: Meaning.BUSY,
}
"""What a code means beside a text that is not in the table: providers limit rates and fail inside with many texts."""


class NodeError(AnchorError):
    """A node answered with an error; the message holds its text, made safe to show."""

    def __init__(self, provider: str, method: str, code: int, text: str) -> None:
        """Classify the text by the table."""
        self.meaning = meaning_of(code, text)
        self.code = code
        self.text = shown(text)
        message = f"{provider} answered {method} with error {code}: {self.text}"
        super().__init__(message, kind=KINDS.get(self.meaning, FailureKind.UNKNOWN))


def meaning_of(code: int, text: str) -> Meaning:
    """Return what a node's error means."""
    for meaning, pattern in _PATTERNS:
        if pattern.search(text):
            return meaning
    return CODES.get(code, Meaning.UNKNOWN)
