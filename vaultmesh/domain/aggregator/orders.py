"""Reads the signals of a target's aggregator from JSON."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue, TypeAdapter, ValidationError

from vaultmesh.domain.errors import InvalidValue, one_line
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.names import (
    BUMP_FEE,
    ENDPOINT_BACK,
    ENQUEUE,
    HURRY,
    PAUSE,
    RELEASE,
    REOPENED,
    RESUME,
    REWRITE,
    WITHDRAW,
)

MOST_ROUNDS = 500
"""Round ids in one message or list: some 20 kB. Who names them names the others again, once these are dealt with."""

_REQUESTS: TypeAdapter[list[AnchorRequest]] = TypeAdapter(list[AnchorRequest])


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Requests that are due."""

    requests: list[AnchorRequest]


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Requests to take back, where they are in no round."""

    requests: list[AnchorRequest]


@dataclass(frozen=True, slots=True)
class Release:
    """Requests that wait no longer, wherever they are: their cadences moved to another target."""

    requests: list[AnchorRequest]


@dataclass(frozen=True, slots=True)
class Pause:
    """Seal no new round; open rounds go on, requests wait."""

    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Seal rounds again."""


@dataclass(frozen=True, slots=True)
class BumpFee:
    """Bid more for the lowest un-included round."""


@dataclass(frozen=True, slots=True)
class Reopened:
    """Closed rounds that a worker opened again: what is stored is to be learnt anew."""

    rounds: list[str]


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Closed rounds with receipts that do not say how they ended."""

    rounds: list[str]


@dataclass(frozen=True, slots=True)
class Hurry:
    """Try what failed at once; `endpoint_back`: also what failed before anything was signed."""

    endpoint_back: bool = False


_ABOUT_REQUESTS: Mapping[str, type[Enqueue | Withdraw | Release]] = {
    ENQUEUE: Enqueue,
    WITHDRAW: Withdraw,
    RELEASE: Release,
}
_WITHOUT_ARGUMENT: Mapping[str, Resume | Hurry] = {
    RESUME: Resume(),
    HURRY: Hurry(),
    ENDPOINT_BACK: Hurry(endpoint_back=True),
}
_SIGNALS = (
    ENQUEUE, WITHDRAW, RELEASE, PAUSE, RESUME, BUMP_FEE, REOPENED, REWRITE, HURRY, ENDPOINT_BACK,
)  # fmt: skip
AboutRounds = BumpFee | Reopened | Rewrite | Hurry
AggregatorCommand = Enqueue | Withdraw | Release | Pause | Resume | AboutRounds


def read(name: str, values: list[JsonValue]) -> AggregatorCommand:
    """Return what a signal orders.

    Raises:
        InvalidValue: unknown name, or arguments of another form.
    """
    match name:
        case "enqueue" | "withdraw" | "release":
            return _ABOUT_REQUESTS[name](_requests(name, values))
        case "pause":
            return Pause(_reason(values))
        case "resume" | "hurry" | "endpoint_back":
            _require_none(name, values)
            return _WITHOUT_ARGUMENT[name]
        case "bump_fee":
            return BumpFee()
        case "reopened":
            return Reopened(_round_ids(name, values))
        case "rewrite":
            return Rewrite(_round_ids(name, values))
        case _:
            known = ", ".join(_SIGNALS)
            message = f"an aggregator knows no signal {name!r}; there are: {known}"
            raise InvalidValue(message)


def _require_none(name: str, values: list[JsonValue]) -> None:
    if values and values != [None]:
        message = f"{name} of an aggregator takes no argument"
        raise InvalidValue(message)


def _requests(name: str, values: list[JsonValue]) -> list[AnchorRequest]:
    if len(values) != 1:
        message = f"{name} takes one argument, a list of requests"
        raise InvalidValue(message)
    try:
        return _REQUESTS.validate_python(values[0])
    except ValidationError as error:
        message = f"{name}: {one_line(error, list[AnchorRequest])}"
        raise InvalidValue(message) from None


def _round_ids(name: str, values: list[JsonValue]) -> list[str]:
    match values:
        case [[*ids]] if all(isinstance(round_id, str) for round_id in ids):
            if len(ids) > MOST_ROUNDS:
                message = f"{name} takes {MOST_ROUNDS} round ids at the most, not {len(ids)}; send the others in further signals"
                raise InvalidValue(message)
            return [str(round_id) for round_id in ids]
        case _:
            message = f"{name} takes one argument, a list of round ids"
            raise InvalidValue(message)


def _reason(values: list[JsonValue]) -> str:
    match values:
        case [] | [None]:
            return ""
        case [str(reason)]:
            return reason[:500]
        case [{"reason": str(reason), **rest}] if not rest:
            return reason[:500]
        case _:
            message = 'pause of an aggregator takes nothing, "reason" or {"reason": "…"}'
            raise InvalidValue(message)
