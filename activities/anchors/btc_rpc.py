"""The place where a Bitcoin node is talked to: one call with a time-out, from a task or from a thread.

1. A call is made once, on a connection of its own. Nothing is repeated in secret.
2. Errors are `AnchorError`s that name the node by scheme, host and port only; what it says is made safe to show.
3. Calls of one target run on threads of their own: a node that hangs blocks nobody else.
"""

import asyncio
import json
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Self, TypeVar, cast
from urllib.parse import quote, unquote, urlsplit

from pydantic import JsonValue
from pydantic_core import from_json
from typing_extensions import TypeVarTuple, override

from activities.anchors.failures import failure_of, public_url, shown
from vaultmesh.domain.bitcoin import COIN_SATS, MOST_SATS
from vaultmesh.domain.failures import AnchorError, AuthFailure, FailureKind, NetworkFailure
from vaultmesh.runtime.logs import register_secret

CALL_SECONDS = 10.0
"""A healthy node answers each of our calls within a second; a wallet that is being loaded may take longer."""
LARGEST_REPLY = 16 * 1024 * 1024
"""Bytes; the transaction ids of the fullest block are far below."""
_THREADS = 8
_PIECE = 65_536
_FIRST_REDIRECT, _FIRST_SERVER_ERROR = 300, 500
_UNAUTHORISED = frozenset({401, 403, 407})
_TEMPORARY = frozenset({408, 429, 503})
_Done = TypeVar("_Done")
_Given = TypeVarTuple("_Given")
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
        """Remember where; `seconds` bound each call."""
        parts = urlsplit(url)
        self.label = public_url(url)
        self.wallet_name = wallet
        self._seconds = seconds
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._path = parts.path.rstrip("/")
        self._headers = {"Content-Type": "application/json", "Connection": "close"}
        if parts.username is not None or parts.password is not None:
            password = unquote(parts.password or "")
            register_secret(password)
            pair = f"{unquote(parts.username or '')}:{password}"
            self._headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="bitcoin")

    @override
    def __repr__(self) -> str:
        """Name the node without its credentials."""
        return f"Node({self.label})"

    async def call(self, method: str, *params: JsonValue) -> JsonValue:
        """Ask the node; raises as `ask`."""
        return await self._on_thread("", method, params)

    async def wallet(self, method: str, *params: JsonValue) -> JsonValue:
        """Ask the wallet; raises as `ask`."""
        return await self._on_thread(self._wallet_path, method, params)

    async def found(self, method: str, *params: JsonValue) -> "Reply | None":
        """Ask the node for an object; nothing if it knows none or no such thing."""
        return _found(await _or_none(self.call(method, *params)))

    async def found_in_wallet(self, method: str, *params: JsonValue) -> "Reply | None":
        """Ask the wallet for an object; nothing if it knows no such thing."""
        return _found(await _or_none(self.wallet(method, *params)))

    def ask_wallet(self, method: str, *params: JsonValue) -> JsonValue:
        """Ask the wallet from a thread; raises as `ask`."""
        return self.ask(self._wallet_path, method, params)

    def ask(self, path: str, method: str, params: Sequence[JsonValue]) -> JsonValue:
        """Ask once and return the result; blocks.

        Raises:
            NodeError: the node answered with an error.
            NetworkFailure: no answer in time, or none that makes sense.
            AuthFailure: it wants other credentials.
        """
        body = json.dumps({"jsonrpc": "1.0", "id": 1, "method": method, "params": list(params)})
        try:
            status, answer = self._post(self._path + path, body.encode())
        except (OSError, HTTPException, ValueError) as error:
            message = f"{self.label} could not be reached for {method}: {_reason(error)}"
            raise NetworkFailure(message) from None
        return self._result(method, status, answer)

    async def apart(self, work: Callable[[*_Given], _Done], *given: *_Given) -> _Done:
        """Do blocking work on one of the node's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)

    async def close(self) -> None:
        """Start no further call; those that run end by their time-outs."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def _wallet_path(self) -> str:
        return "" if self.wallet_name is None else f"/wallet/{quote(self.wallet_name, safe='')}"

    async def _on_thread(self, path: str, method: str, params: Sequence[JsonValue]) -> JsonValue:
        return await self.apart(self.ask, path, method, params)

    def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        deadline = time.monotonic() + self._seconds
        connection = (
            HTTPSConnection(
                self._host,
                self._port,
                timeout=self._seconds,
                context=ssl.create_default_context(),
            )
            if self._secure
            else HTTPConnection(self._host, self._port, timeout=self._seconds)
        )
        try:
            connection.request("POST", path or "/", body, self._headers)
            with connection.getresponse() as reply:
                received = bytearray()
                while piece := reply.read1(_PIECE):
                    received += piece
                    if len(received) > LARGEST_REPLY:
                        message = "the reply is too large"
                        raise ValueError(message)
                    if time.monotonic() > deadline:
                        raise TimeoutError
                return reply.status, bytes(received)
        finally:
            connection.close()

    def _result(self, method: str, status: int, body: bytes) -> JsonValue:
        if status in _UNAUTHORISED:
            message = f"{self.label} refused {method} with HTTP {status}: check user and password in rpcUrl"
            raise AuthFailure(message)
        try:
            reply = from_json(body)
        except ValueError:
            reply = None
        if isinstance(reply, dict) and isinstance(error := reply.get("error"), dict):
            code = error.get("code")
            text = str(error.get("message", ""))
            raise NodeError(self.label, method, code if isinstance(code, int) else 0, text)
        if isinstance(reply, dict) and "result" in reply:
            return cast("JsonValue", reply["result"])
        lasting = _FIRST_REDIRECT <= status < _FIRST_SERVER_ERROR and status not in _TEMPORARY
        kind = FailureKind.VALIDATION if lasting else FailureKind.NETWORK
        message = f"{self.label} answered {method} with HTTP {status} and no JSON-RPC reply"
        raise failure_of(kind, message)


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
            return [cls.of(one) for one in value]
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
        return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []

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


async def _or_none(asking: Any) -> JsonValue:  # noqa: ANN401 - a coroutine of ours
    try:
        return cast("JsonValue", await asking)
    except NodeError as error:
        if error.code == UNKNOWN_THING:
            return None
        raise


def _found(value: JsonValue) -> Reply | None:
    return None if value is None else Reply.of(value)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    text = error.strerror if isinstance(error, OSError) and error.strerror else ""
    return shown(text) or type(error).__name__
