"""Reads the settings of one target from anchors.yaml.

1. `<scheme>.<reference>` overrides `<scheme>.default` key by key; so does the environment before.
2. Of keys that say the same thing (`rpcUrl`, `rpcUrls`), those of the nearest section win together.
3. An empty value counts as absent.
4. Which keys a scheme has is known to its own model; unknown keys are errors.
5. No message holds a value from the document: any of them may be secret.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from vaultmesh.domain.complaints import unknown_key
from vaultmesh.domain.errors import InvalidDocument, InvalidValue, KeyPath, Problem, problems_of
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.domain.setting_values import Count, Duration
from vaultmesh.domain.target import Target

DEFAULT_SECTION = "default"
MOST_LEAVES = 10_000
"""Roots in one round: above it a manifest no longer fits where it travels."""
Document = Mapping[str, Mapping[str, Mapping[str, object]]]
"""anchors.yaml: values by scheme, section and key, as written: variables are not replaced yet."""

_SCHEME = re.compile(r"[a-z][a-z0-9]{1,15}")


class Aggregation(StrEnum):
    """When roots go out together under one tree."""

    AUTO = "auto"
    """One root is committed itself, several under a tree."""
    ALWAYS = "always"
    """Under a tree, also one alone."""
    OFF = "off"
    """One root, one transaction."""


@dataclass(frozen=True, slots=True)
class OpenedFiles:
    """What became of the files that a target's settings name, when somebody who needs them opened them."""

    problems: tuple[str, ...] = ()
    """Why the target can't work, a line each."""
    warnings: tuple[str, ...] = ()
    """What may harm although it works, a line each."""


class CommonSettings(BaseModel):
    """Settings of every scheme; each scheme's own model derives from it."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        hide_input_in_errors=True,
        alias_generator=to_camel,
    )
    ENVIRONMENT: ClassVar[Mapping[str, str]] = {}
    """Environment variable that overrides a key of `default`, by key."""
    ALTERNATIVES: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Keys of which a section gives at most one."""
    SIGNING_ONLY: ClassVar[frozenset[str]] = frozenset()
    """Keys that only whoever signs reads: others leave them out, and need no secret."""
    SECRETS: ClassVar[frozenset[str]] = frozenset()
    """Keys whose value is itself a secret, and so has no place in a file that is passed around."""

    aggregation: Annotated[Aggregation, Field(strict=False)] = Aggregation.AUTO
    window: Duration = timedelta(milliseconds=250)
    """A round is sealed once no request came for so long."""
    window_max: Duration = timedelta(seconds=10)
    """A round is sealed after so long, whatever comes."""
    max_leaves: Annotated[Count, Field(ge=1, le=MOST_LEAVES)] = 1_000
    """Roots in one round."""

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if self.window > self.window_max:
            message = "window is longer than windowMax - shorten window, or lengthen windowMax"
            raise InvalidValue(message)
        return self

    def disagreements(self, target: Target) -> Mapping[str, str]:
        """Return what contradicts the target, as messages by key."""
        del target
        return {}

    def opened_files(self, root: Path) -> OpenedFiles:
        """Open the files that the settings name, relative to the root, and return what is wrong with them. Blocks."""
        del root
        return OpenedFiles()


SettingsT = TypeVar("SettingsT", bound=CommonSettings)


@dataclass(frozen=True, slots=True)
class _Entry:
    value: object
    path: KeyPath
    variable: str = ""
    """Environment variable that gave the value; it is taken as it is."""

    def problem(self, message: str) -> Problem:
        suffix = f" (set by the environment variable {self.variable})" if self.variable else ""
        return Problem(self.path, message + suffix)


def check_sections(document: object) -> Document:
    """Return anchors.yaml's content once its outline is right; keys are seen when they are used.

    Raises:
        InvalidDocument: it holds no sections by scheme, or an unknown scheme.
    """
    if not isinstance(document, Mapping):
        raise InvalidDocument(
            [Problem((), "holds no settings - write a scheme and below it default")]
        )
    problems: list[Problem] = []
    for scheme, sections in document.items():
        if scheme not in SCHEMES:
            unknown = unknown_key(scheme, SCHEMES).replace("key", "scheme", 1)
            problems.append(Problem((scheme,), unknown))
        elif not _SCHEME.fullmatch(scheme) or not isinstance(sections, Mapping):
            problems.append(
                Problem((scheme,), "is no scheme with sections - write default below it")
            )
        else:
            problems += [
                Problem(
                    (scheme, name),
                    "holds no settings - write keys and values below it, or remove it",
                )
                for name, section in sections.items()
                if not isinstance(section, Mapping)
            ]
    if problems:
        raise InvalidDocument(problems)
    return document


def _as_written(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class Reading:
    """Who reads the settings, and in what surroundings."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Its variables override `default` where the model says so."""
    expand: Callable[[str], str] = _as_written
    """Replaces variables in a text; raises InvalidValue. Called for values that are used alone."""
    signing: bool = True
    """Whether the reader signs; if not, keys that only a signer reads are left out."""


def settings_for(
    document: Document, target: Target, model: type[SettingsT], reading: Reading | None = None
) -> SettingsT:
    """Return one target's settings: of what `check_sections` returned, in the scheme's own model.

    Raises:
        InvalidDocument: with everything that is wrong.
    """
    reading = reading or Reading()
    merged = _merged(document, target, model, reading.environment)
    if not reading.signing:
        merged = {key: entry for key, entry in merged.items() if key not in model.SIGNING_ONLY}
    values, problems = _expanded(merged, reading.expand)
    for group in model.ALTERNATIVES:
        stated = [key for key in group if key in values]
        problems += [
            merged[key].problem(f"is given beside {stated[0]} - keep one") for key in stated[1:]
        ]
    broken = {problem.path[2] for problem in problems}
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        problems += [
            _placed(problem, merged, target, model)
            for problem in problems_of(error, model)
            if not broken or {*problem.path[:1]} - broken
        ]
        raise InvalidDocument(problems) from None
    for key, message in settings.disagreements(target).items():
        problems.append(_placed(Problem((key,), message), merged, target, model))
    if problems:
        raise InvalidDocument(problems)
    return settings


def _merged(
    document: Document, target: Target, model: type[CommonSettings], environment: Mapping[str, str]
) -> dict[str, _Entry]:
    sections = document.get(target.scheme, {})
    above = (target.scheme, DEFAULT_SECTION)
    default = {
        key: _Entry(value, (*above, key))
        for key, value in sections.get(DEFAULT_SECTION, {}).items()
    }
    variables = {
        key: _Entry(environment[variable], (*above, key), variable)
        for key, variable in model.ENVIRONMENT.items()
        if environment.get(variable)
    }
    merged = _overridden(default, variables, model)
    if target.reference == DEFAULT_SECTION:
        return merged
    nearer = sections.get(target.reference, {})
    above = (target.scheme, target.reference)
    return _overridden(merged, {key: _Entry(v, (*above, key)) for key, v in nearer.items()}, model)


def _overridden(
    farther: Mapping[str, _Entry], nearer: Mapping[str, _Entry], model: type[CommonSettings]
) -> dict[str, _Entry]:
    replaced = {key for group in model.ALTERNATIVES if set(group) & set(nearer) for key in group}
    return {key: entry for key, entry in farther.items() if key not in replaced} | dict(nearer)


def _expanded(
    merged: Mapping[str, _Entry], expand: Callable[[str], str]
) -> tuple[dict[str, object], list[Problem]]:
    """Return the values, variables replaced and empty ones left out, and what went wrong."""
    values: dict[str, object] = {}
    problems: list[Problem] = []
    for key, entry in merged.items():
        try:
            value = entry.value if entry.variable else _replaced(entry.value, expand)
        except InvalidValue as error:
            problems.append(entry.problem(str(error)))
            continue
        if value is not None and value not in ("", []):
            values[key] = value
    return values, problems


def _replaced(value: object, expand: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return expand(value)
    if isinstance(value, list):
        replaced = [_replaced(item, expand) for item in value]
        return [item for item in replaced if item != ""]
    return value


def _placed(
    problem: Problem, merged: Mapping[str, _Entry], target: Target, model: type[CommonSettings]
) -> Problem:
    """Say which section holds the key that a problem is about; a missing one belongs to default."""
    if not problem.path:
        return Problem((target.scheme, DEFAULT_SECTION), problem.message)
    key, *rest = problem.path
    entry = merged.get(key)
    if entry is None:
        group = next((group for group in model.ALTERNATIVES if key in group), ())
        entry = next((merged[other] for other in group if other in merged), None)
        if entry is None:
            return Problem((target.scheme, DEFAULT_SECTION, key), problem.message)
        rest = []
    if rest:
        return Problem((*entry.path, *rest), problem.message)
    return entry.problem(problem.message)
