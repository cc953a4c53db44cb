"""Talks to EVM nodes: one call with a time-out, failover, and reads from all providers at once.

1. A call is made once. Nothing is repeated in secret; whoever wants a repetition asks again.
2. Errors are `AnchorError`s that name a provider by scheme, host and port only: paths and passwords are credentials.
3. A provider that could not be reached rests: it is asked last for a while, so that a dead one does not slow each call.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from pydantic import JsonValue
from typing_extensions import override

from vaultmesh.domain.failures import AnchorError, FailureKind, NetworkFailure
from vaultmesh.domain.tally import Tally
from vaultmesh.ledgers.evm.libraries import AsyncJSONBaseProvider, RPCEndpoint, RPCResponse
from vaultmesh.ledgers.evm.node_errors import Meaning, NodeError
from vaultmesh.ledgers.failures import failure_of, public_url
from vaultmesh.ledgers.http import UNREACHABLE, Client, Rest, counted_at, json_rpc_reply, reason
from vaultmesh.process.logs import register_url
from vaultmesh.process.request_log import logged

CALL_SECONDS = 5.0
"""A healthy node answers each of our calls within a fraction of a second."""
REST_SECONDS = 15.0
"""How long a provider that did not answer is asked last."""
_HEADERS = {"Content-Type": "application/json"}
_NO_CODE = 0
"""Of an error without one: its text alone says what it means."""

_Answer = TypeVar("_Answer")


class Provider(AsyncJSONBaseProvider):
    """One node or service, spoken to by JSON-RPC over HTTP; a web3 provider that never logs URLs or parameters."""

    def __init__(
        self, url: str, timeout_seconds: float = CALL_SECONDS, tally: Tally | None = None
    ) -> None:
        """Remember where; connects with the first call. `tally` counts the requests."""
        super().__init__()
        self.label = public_url(url)
        register_url(url)
        self._url = url
        self._client = Client(timeout_seconds, tally=tally)
        self._rest = Rest(REST_SECONDS, REST_SECONDS)

    @override
    def __repr__(self) -> str:
        """Name the provider without its credentials."""
        return f"Provider({self.label})"

    @property
    def rests(self) -> bool:
        """Whether it failed to answer a moment ago."""
        return self._rest.is_on

    async def call(self, method: str, *params: JsonValue) -> JsonValue:
        """Call once and return the result.

        Raises:
            NodeError: the node answered with an error.
            NetworkFailure: no answer in time, or none that makes sense.
            AuthFailure: it wants other credentials.
        """
        reply = cast("dict[str, JsonValue]", await self.make_request(RPCEndpoint(method), params))
        error = reply.get("error")
        if error is None:
            return reply.get("result")
        raise self._node_error(method, error)

    @override
    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Send one request; the transport's errors come out as ours."""
        with logged(self.label, method) as asked:
            try:
                body = self.encode_rpc_request(method, params)
                reply = await self._client.post(self._url, body, _HEADERS)
            except UNREACHABLE as error:
                self._rest.begin()
                asked.broke(reason(error))
                message = f"{self.label} could not be reached for {method}: {reason(error)}"
                raise NetworkFailure(message) from None
            asked.answered(reply.status)
            self._rest.end()
            decoded = json_rpc_reply(self.label, method, reply, "the URL's credentials")
            asked.holds(decoded.get("error"))
        return cast("RPCResponse", decoded)

    @override
    async def disconnect(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _node_error(self, method: str, error: JsonValue) -> NodeError:
        fields = error if isinstance(error, dict) else {"message": error}
        code = fields.get("code")
        text = str(fields.get("message", ""))
        data = fields.get("data")
        if isinstance(data, str) and not data.startswith("0x"):
            text = f"{text}: {data}"  # besu and nethermind put the reason here
        return NodeError(self.label, method, code if isinstance(code, int) else _NO_CODE, text)


class Providers:
    """All configured providers of one chain, in the order of the configuration."""

    def __init__(
        self,
        urls: Sequence[str],
        quorum: int,
        timeout_seconds: float = CALL_SECONDS,
        tally: Tally | None = None,
    ) -> None:
        """Connects with the first call; `quorum` of them must agree on what matters, and `tally` counts."""
        self.quorum = quorum
        self.tally = counted_at(urls, tally)
        self.all = tuple(Provider(url, timeout_seconds, self.tally) for url in urls)

    @property
    def awake_first(self) -> list[Provider]:
        """All of them, those that rest last."""
        return sorted(self.all, key=lambda provider: provider.rests)

    async def first(self, ask: Callable[[Provider], Awaitable[_Answer]]) -> _Answer:
        """Return what the first provider that answers says; a revert is an answer, other errors are not."""
        failures: list[AnchorError] = []
        for provider in self.awake_first:
            try:
                return await ask(provider)
            except NodeError as error:
                if error.meaning is Meaning.REVERTED:
                    raise
                failures.append(error)
            except AnchorError as error:
                failures.append(error)
        raise _joined(failures)

    async def every(self, ask: Callable[[Provider], Awaitable[_Answer]]) -> list[_Answer]:
        """Ask all that do not rest at once; resting ones too when the others are fewer than the quorum.

        Raises:
            AnchorError: fewer than the quorum answered.
        """
        awake = [provider for provider in self.all if not provider.rests]
        asked = awake if len(awake) >= self.quorum else list(self.all)
        answers, failures = await self.attempt(ask, asked)
        if len(answers) < self.quorum and len(asked) < len(self.all):
            resting = [provider for provider in self.all if provider not in asked]
            more, others = await self.attempt(ask, resting)
            answers, failures = answers + more, failures + others
        if len(answers) < self.quorum:
            raise _joined(failures)
        return answers

    async def attempt(
        self, ask: Callable[[Provider], Awaitable[_Answer]], providers: Sequence[Provider]
    ) -> tuple[list[_Answer], list[AnchorError]]:
        """Ask these at once; return answers and failures, each in the order of the providers."""
        results = await asyncio.gather(*map(ask, providers), return_exceptions=True)
        answers: list[_Answer] = []
        failures: list[AnchorError] = []
        for result in results:
            if isinstance(result, AnchorError):
                failures.append(result)
            elif isinstance(result, BaseException):
                raise result
            else:
                answers.append(result)
        return answers, failures

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(provider.disconnect() for provider in self.all))


def supported_by(values: Sequence[int], quorum: int) -> int:
    """Return the highest number that at least `quorum` of the values reach: no smaller minority can raise it."""
    return sorted(values, reverse=True)[quorum - 1]


def _joined(failures: Sequence[AnchorError]) -> AnchorError:
    """Return one failure with all texts, of the kind of the first that is not the network's."""
    if len(failures) == 1:
        return failures[0]
    kinds = (failure.kind for failure in failures)
    kind = next((kind for kind in kinds if kind is not FailureKind.NETWORK), FailureKind.NETWORK)
    return failure_of(kind, "; ".join(map(str, failures)))
