"""Reads the raw arguments of a signal or update as JSON values, or as one clear refusal, which is counted."""

from collections.abc import Sequence

from pydantic import JsonValue, TypeAdapter
from temporalio import workflow
from temporalio.common import RawValue

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.names import SIGNALS_REJECTED

_HELP = "Signals that were ignored, because they mean nothing."
_JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)
_ENCODINGS = (b"json/plain", b"binary/null")


def decoded(arguments: Sequence[RawValue]) -> list[JsonValue]:
    """Return the arguments as JSON values.

    Raises:
        InvalidValue: an argument is not JSON. A typed handler would fail the workflow task instead, for ever.
    """
    return [_decoded(position, argument) for position, argument in enumerate(arguments, start=1)]


def count_rejected() -> None:
    """Count a signal that this workflow ignores; a replay counts nothing, and changes nothing by it."""
    workflow.metric_meter().create_counter(SIGNALS_REJECTED, _HELP).add(1)


def _decoded(position: int, argument: RawValue) -> JsonValue:
    payload = argument.payload
    encoding = payload.metadata.get("encoding", b"")
    if encoding not in _ENCODINGS:
        message = (
            f"argument {position} is not JSON but {encoding.decode(errors='replace')!r}; send JSON"
        )
        raise InvalidValue(message)
    if encoding == b"binary/null":
        return None
    try:
        return _JSON.validate_json(payload.data)
    except ValueError as error:
        message = f"argument {position} is not valid JSON; a text needs its own quotes, such as '\"fast\"'"
        raise InvalidValue(message) from error
