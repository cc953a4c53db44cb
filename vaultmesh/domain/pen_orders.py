"""The place where the signals of a target's pen are read from JSON."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.names import BUMP_FEE, ENQUEUE, PAUSE, RESUME, WITHDRAW
from vaultmesh.domain.resolving import Decision

LONGEST_NAME = 200
"""Characters of who decided."""
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
class PausePen:
    """Seal no new round; open rounds go on, requests wait."""

    reason: str


@dataclass(frozen=True, slots=True)
class ResumePen:
    """Seal rounds again."""


@dataclass(frozen=True, slots=True)
class BumpFee:
    """Bid more for the lowest un-included round."""


@dataclass(frozen=True, slots=True)
class ResolveOrder:
    """An operator's decision about a round."""

    decision: Decision
    round_id: str
    tx_ref: str
    by: str


@dataclass(frozen=True, slots=True)
class FillGap:
    """Fill a gap below the open rounds now, although nothing is owed."""


class _Asked(BaseModel):
    """Argument of the update `resolve`: one of its first four."""

    model_config = ConfigDict(extra="forbid", strict=True)

    lost: str = ""
    adopt: tuple[str, str] | None = Field(default=None, strict=False)
    """Round and transaction."""
    forget: str = ""
    fill: bool = False
    by: str = Field(default="", max_length=LONGEST_NAME)


def read_resolve(value: JsonValue) -> ResolveOrder | FillGap:
    """Return what the update `resolve` orders.

    Raises:
        InvalidValue: another form than one decision, or one that means nothing here.
    """
    try:
        asked = _Asked.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        message = f"resolve: {'.'.join(map(str, first['loc'])) or 'argument'}: {first['msg']}"
        raise InvalidValue(message) from error
    if sum((bool(asked.lost), asked.adopt is not None, bool(asked.forget), asked.fill)) != 1:
        message = "resolve takes one of lost, adopt, forget and fill"
        raise InvalidValue(message)
    if asked.fill:
        return FillGap()
    by = asked.by or "somebody who gave no name"
    if asked.adopt is not None:
        round_id, tx_ref = asked.adopt
        return ResolveOrder(Decision.ADOPTED, round_id, tx_ref, by)
    decision = Decision.LOST if asked.lost else Decision.FORGOTTEN
    return ResolveOrder(decision, asked.lost or asked.forget, "", by)


PenOrder = Enqueue | Withdraw | PausePen | ResumePen | BumpFee


def read(name: str, values: list[JsonValue]) -> PenOrder:
    """Return what a signal orders.

    Raises:
        InvalidValue: unknown name, or arguments of another form.
    """
    match name:
        case "enqueue" | "withdraw":
            requests = _requests(name, values)
            return Enqueue(requests) if name == ENQUEUE else Withdraw(requests)
        case "pause":
            return PausePen(_reason(values))
        case "resume":
            if values and values != [None]:
                message = "resume of an aggregator takes no argument"
                raise InvalidValue(message)
            return ResumePen()
        case "bump_fee":
            return BumpFee()
        case _:
            known = ", ".join((ENQUEUE, WITHDRAW, PAUSE, RESUME, BUMP_FEE))
            message = f"an aggregator knows no signal {name!r}; there are: {known}"
            raise InvalidValue(message)


def _requests(name: str, values: list[JsonValue]) -> list[AnchorRequest]:
    if len(values) != 1:
        message = f"{name} takes one argument, a list of requests"
        raise InvalidValue(message)
    try:
        return _REQUESTS.validate_python(values[0])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{name}: {where or 'argument'}: {first['msg']}"
        raise InvalidValue(message) from error


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
