"""Changes a namespace's cadences by a governance payload.

1. Two published forms share one name: one names every cadence in full, the other may name one cadence
   and of it only the target. Both are read; what is left out stays as it is.
2. What namespaces.yaml could not say is refused: unknown cadences and keys, cycles, a new cadence
   without a period. Unknown keys beside the change itself are ignored, and listed.
3. A change whose `effective_after` lies ahead is refused: a waiting change would be a second
   configuration that nobody sees, and that a change of the file in between would fight with.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from vaultmesh.domain.complaints import did_you_mean
from vaultmesh.domain.errors import InvalidValue, bounded_text, described, one_line, only_argument
from vaultmesh.domain.messages import Wire
from vaultmesh.domain.namespaces.cadence import resolve_periods
from vaultmesh.domain.namespaces.config import (
    LABELS,
    Confirmations,
    Every,
    NoPolicy,
    Phase,
    unknown_scheme,
)
from vaultmesh.domain.namespaces.state import CadenceConfig
from vaultmesh.domain.target import Target

_KEYS = frozenset({"namespace", "cadence", "memo", "effective_after"})
_LONGEST_KEY_SHOWN = 60
_MOST_KEYS_SHOWN = 10


class SetCadence(Wire):
    """Run with these cadences from now on."""

    cadences: dict[str, CadenceConfig]
    """Every cadence of the namespace, changed or not."""
    memo: str = ""
    ignored: list[str] = Field(default_factory=list)
    """Keys beside the change that mean nothing here."""


class CadenceChange(BaseModel):
    """What a governance payload says of one cadence; what it leaves out stays as it is."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    target: Target | None = None
    every: Every | None = None
    phase: Phase | None = None
    confirmations: Confirmations | None = None
    policyOID: NoPolicy | None = None  # noqa: N815 - the payload's own key


def parse_set_cadence(
    arguments: Sequence[JsonValue],
    *,
    namespace: str,
    current: Mapping[str, CadenceConfig],
    now: datetime,
    known_schemes: Collection[str] | None = None,
) -> SetCadence:
    """Read a governance payload of either form, and merge it with the current cadences.

    Args:
        arguments: what was sent.
        namespace: the payload must name it.
        current: cadences before the change.
        now: what `effective_after` is compared with.
        known_schemes: schemes that a target may have; not checked if None.
    """
    content = _payload(only_argument(arguments), namespace)
    _check_effective(content.get("effective_after"), now)
    cadences = merge_cadences(current, _changes(content.get("cadence")))
    for label, cadence in cadences.items():
        if known_schemes is not None and cadence.target.scheme not in known_schemes:
            message = f"{label}.target: {unknown_scheme(cadence.target, known_schemes)}"
            raise InvalidValue(message)
    memo = content.get("memo")
    ignored = sorted(
        bounded_text(key, "a key")[:_LONGEST_KEY_SHOWN] for key in content if key not in _KEYS
    )
    return SetCadence(
        cadences=cadences,
        memo="" if memo is None else bounded_text(memo, "memo"),
        ignored=ignored[:_MOST_KEYS_SHOWN],
    )


def _payload(argument: JsonValue, namespace: str) -> Mapping[str, JsonValue]:
    """Return the object that was sent, if it is for this namespace."""
    content = argument if isinstance(argument, dict) else {}
    if not content:
        message = (
            f"{described(argument)} is no change of cadences;"
            " send {namespace, cadence: {fast: {target, every}}, memo}"
        )
        raise InvalidValue(message)
    named = content.get("namespace")
    if named != namespace or not isinstance(named, str):
        message = (
            f"namespace is {described(named)}, but this is {namespace!r};"
            " send the change to the namespace that it names"
        )
        raise InvalidValue(message)
    return content


def merge_cadences(
    current: Mapping[str, CadenceConfig], changes: Mapping[str, CadenceChange]
) -> dict[str, CadenceConfig]:
    """Return the cadences after a change; multiples of a changed cadence follow it (S3).

    Raises:
        InvalidValue: a new cadence lacks `target` or `every`, or a period means nothing any more.
    """
    merged = dict(current)
    for label, change in changes.items():
        merged[label] = _merged(label, current.get(label), change)
    resolve_periods({label: cadence.every for label, cadence in merged.items()})
    if LABELS[0] not in merged:
        message = f"there is no {LABELS[0]} cadence; name its target and every"
        raise InvalidValue(message)
    return {label: merged[label] for label in sorted(merged, key=_place)}


def _place(label: str) -> tuple[int, str]:
    return (LABELS.index(label) if label in LABELS else len(LABELS), label)


def _merged(label: str, before: CadenceConfig | None, change: CadenceChange) -> CadenceConfig:
    new = {
        "target": change.target,
        "every": change.every,
        "phase": change.phase,
        "required_depth": change.confirmations,
    }
    stated = {field: value for field, value in new.items() if value is not None}
    if before is not None:
        return before.model_copy(update=stated)
    missing = [field for field in ("target", "every") if field not in stated]
    if missing:
        message = (
            f"{label} is a new cadence and lacks {' and '.join(missing)};"
            " namespaces.yaml could not say that"
        )
        raise InvalidValue(message)
    return CadenceConfig.model_validate(stated)


def _changes(cadences: JsonValue) -> dict[str, CadenceChange]:
    if not isinstance(cadences, dict) or not cadences:
        message = f"cadence is {described(cadences)}; write at least one of {', '.join(LABELS)}"
        raise InvalidValue(message)
    changes: dict[str, CadenceChange] = {}
    for label, content in cadences.items():
        if label not in LABELS:
            meant = did_you_mean(label, LABELS)
            mend = f"{meant} Use" if meant else "use"
            message = (
                f"{described(label)} is no cadence that namespaces.yaml could hold;"
                f" {mend} {', '.join(LABELS)}"
            )
            raise InvalidValue(message)
        if not isinstance(content, dict) or not content.get("target"):
            message = f"{label} is {described(content)}; write at least its target"
            raise InvalidValue(message)
        try:
            changes[label] = CadenceChange.model_validate(content)
        except ValidationError as error:
            message = f"{label}.{one_line(error, CadenceChange)}"
            raise InvalidValue(message) from None
    return changes


def _check_effective(effective_after: JsonValue, now: datetime) -> None:
    if effective_after is None:
        return
    try:
        instant = (
            datetime.fromisoformat(effective_after) if isinstance(effective_after, str) else None
        )
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        message = f"effective_after is {described(effective_after)}; write an instant such as 2026-01-15T10:00:00Z"
        raise InvalidValue(message)
    if instant > now:
        message = (
            f"effective_after {described(effective_after)} lies ahead;"
            " changes apply at once, so send this one again then"
        )
        raise InvalidValue(message)
