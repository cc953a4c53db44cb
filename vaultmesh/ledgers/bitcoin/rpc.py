"""Talks to a Bitcoin node: one call with a time-out.

1. A call is made once, on a connection of its own. Nothing is repeated in secret.
2. Errors are `AnchorError`s that name the node by scheme, host and port only; what it says is made safe to show.
"""

import json
from base64 import b64encode
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Self, cast
from urllib.parse import quote, unquote, urlsplit

from pydantic import JsonValue
from typing_extensions import override

from vaultmesh.domain.failures import AnchorError, FailureKind, NetworkFailure
from vaultmesh.ledgers.bitcoin.core.transaction import COIN_SATS, MOST_SATS
from vaultmesh.ledgers.failures import public_url, shown
from vaultmesh.ledgers.http import UNREACHABLE, Client, counted_at, json_rpc_reply, reason
from vaultmesh.process.logs import register_url
from vaultmesh.process.request_log import logged

CALL_SECONDS = 10.0
"""A healthy node answers each of our calls within a second; a wallet that is being loaded may take longer."""
UNKNOWN_THING, LOCKED, WALLET_MISSING, WALLET_UNSPECIFIED = -5, -13, -18, -19
MISSING_INPUTS, REFUSED, IN_CHAIN = -25, -26, -27
NO_SUCH_HEIGHT = -8
_KINDS = {
    WALLET_MISSING: FailureKind.AUTH,
    WALLET_UNSPECIFIED: FailureKind.AUTH,
    LOCKED: FailureKind.AUTH,
    -6: FailureKind.AUTH,  # no funds
    -28: FailureKind.NETWORK,  # starting
    -32601: FailureKind.VALIDATION,  # no such method: an old node, or one without wallets
}
_MENDS = {
    WALLET_MISSING: "load it with loadwallet, or correct wallet",
    WALLET_UNSPECIFIED: "name the one that pays with the key wallet",
    LOCKED: "unlock it with walletpassphrase",
}
"""What helps against errors that any call of a wallet may meet."""


class NodeError(AnchorError):
    """A node answered with an error; the message holds its text, made safe to show, and what helps where that is known."""

    def __init__(self, node: str, method: str, code: int, text: str) -> None:
        """Classify the error by its code."""
        self.code = code
        self.text = text
        mend = f"; {_MENDS[code]}" if code in _MENDS else ""
        message = f"{node} answered {method} with error {code}: {shown(text)}{mend}"
        super().__init__(message, kind=_KINDS.get(code, FailureKind.UNKNOWN))


class Node:
    """One Bitcoin node, spoken to by JSON-RPC over HTTP."""

    def __init__(self, url: str, wallet: str | None = None, seconds: float = CALL_SECONDS) -> None:
        """Remember where; connects with the first call, and `seconds` bound each."""
        self.tally = counted_at([url])
        parts = urlsplit(url)
        self.label = public_url(url)
        register_url(url)
        self.wallet_name = wallet
        place = parts.netloc.rpartition("@")[2]
        self._url = f"{parts.scheme}://{place}{parts.path.rstrip('/')}"
        self._wallet_url = self._url
        if wallet is not None:
            self._wallet_url += f"/wallet/{quote(wallet, safe='')}"
        self._headers = {"Content-Type": "application/json"}
        if parts.username is not None or parts.password is not None:
            pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        self._client = Client(seconds, keep_alive=False, tally=self.tally)

    @override
    def __repr__(self) -> str:
        """Name the node without its credentials."""
        return f"Node({self.label})"

    async def call(self, method: str, *params: JsonValue) -> JsonValue:
        """Ask the node once and return the result.

        Raises:
            NodeError: the node answered with an error.
            NetworkFailure: no answer in time, or none that makes sense.
            AuthFailure: it wants other credentials.
        """
        return await self._ask(self._url, method, params)

    async def wallet(self, method: str, *params: JsonValue) -> JsonValue:
        """Ask the wallet; raises as `call`."""
        return await self._ask(self._wallet_url, method, params)

    async def found(self, method: str, *params: JsonValue) -> "Reply | None":
        """Ask the node for an object; nothing if it knows none or no such thing."""
        return await _found(self.call(method, *params))

    async def found_in_wallet(self, method: str, *params: JsonValue) -> "Reply | None":
        """Ask the wallet for an object; nothing if it knows no such thing."""
        return await _found(self.wallet(method, *params))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _ask(self, url: str, method: str, params: Sequence[JsonValue]) -> JsonValue:
        body = json.dumps({"jsonrpc": "1.0", "id": 1, "method": method, "params": list(params)})
        with logged(self.label, method) as asked:
            try:
                answer = await self._client.post(url, body.encode(), self._headers)
            except UNREACHABLE as error:
                asked.broke(reason(error))
                message = f"{self.label} could not be reached for {method}: {reason(error)}"
                raise NetworkFailure(message) from None
            asked.answered(answer.status)
            reply = json_rpc_reply(self.label, method, answer, "user and password in rpcUrl")
            refusal = reply.get("error")
            asked.holds(refusal)
        if refusal is None:
            return reply.get("result")
        fields = refusal if isinstance(refusal, dict) else {"message": refusal}
        code, text = fields.get("code"), str(fields.get("message", ""))
        raise NodeError(self.label, method, code if isinstance(code, int) else 0, text)


class Reply:
    """An object that a node answered, read field by field; what has another type is a `NetworkFailure`."""

    def __init__(self, fields: Mapping[str, JsonValue]) -> None:
        """Read from these fields."""
        self._fields = fields

    @classmethod
    def of(cls, value: JsonValue) -> Self:
        """Take an answer that must be an object."""
        if isinstance(value, dict):
            return cls(value)
        message = "the node answered something else than an object"
        raise NetworkFailure(message)

    @classmethod
    def each(cls, value: JsonValue) -> list[Self]:
        """Take an answer that must be a list of objects."""
        if isinstance(value, list):
            return [cls.of(item) for item in value]
        message = "the node answered something else than a list"
        raise NetworkFailure(message)

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text."""
        return cast("str", self._read(key, str, default))

    def number(self, key: str, default: int | None = None) -> int:
        """Return a whole number."""
        return cast("int", self._read(key, int, default))

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return a switch; absent ones are `default`."""
        return cast("bool", self._read(key, bool, default))

    def sats(self, key: str) -> int:
        """Return an amount of bitcoins in satoshis."""
        value = self._fields.get(key)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= cast("float", value) <= MOST_SATS / COIN_SATS:
            message = f"the node's answer has no amount {key}"
            raise NetworkFailure(message)
        return round(cast("float", value) * COIN_SATS)

    def texts(self, key: str) -> list[str]:
        """Return a list of texts; an absent one is empty."""
        value = self._fields.get(key)
        return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []

    def values(self, key: str) -> JsonValue:
        """Return a field as it is."""
        return self._fields.get(key)

    def has(self, key: str) -> bool:
        """Say whether there is such a field."""
        return self._fields.get(key) is not None

    def is_object(self, key: str) -> bool:
        """Say whether the field is an object."""
        return isinstance(self._fields.get(key), dict)

    def _read(self, key: str, kind: type, default: Any) -> object:  # noqa: ANN401 - of that kind
        value = self._fields.get(key, default)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            message = f"the node's answer has no {key}"
            raise NetworkFailure(message)
        return value


async def _found(asking: Awaitable[JsonValue]) -> Reply | None:
    try:
        value = await asking
    except NodeError as error:
        if error.code == UNKNOWN_THING:
            return None
        raise
    return None if value is None else Reply.of(value)
