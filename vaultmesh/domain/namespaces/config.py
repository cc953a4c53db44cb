"""Reads namespaces and their cadences from namespaces.yaml.

1. Cadences are `fast` (needed), `strong` and `cold`; any other label is an error, never dropped.
2. Unknown keys are errors, but in `witnesses` and `schema_policy`, which others read, warnings.
3. A namespace's name is taken as it is: `dao:vaultmesh` and `dao:vaultmesh:` are two namespaces.
4. Which schemes of targets exist is told by the caller.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Annotated, TypeGuard

import rfc8785
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from vaultmesh.domain.complaints import did_you_mean
from vaultmesh.domain.errors import InvalidDocument, InvalidValue, KeyPath, Problem, problems_of
from vaultmesh.domain.messages import Backoff, Wire
from vaultmesh.domain.namespaces.cadence import parse_duration, resolve_periods
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration
from vaultmesh.domain.paths import BATCHES_FOLDER
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.domain.target import Target

LABELS = ("fast", "strong", "cold")
"""Every cadence a namespace can have, in the order they are shown."""
MOST_CONFIRMATIONS = 1_000_000
"""More than any of the ledgers grows in weeks: a slip."""
SHORTEST_DEADLINE = timedelta(seconds=1)
_LONGEST_NAME = 200
"""Bytes of a namespace's name: it is part of every request, which must stay small."""
_WITHOUT_MEANING = re.compile(r"[\s/\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def check_name(name: str) -> str:
    """Return a namespace's name.

    Raises:
        InvalidValue: no namespace can be called that.
    """
    too_long = len(name.encode(errors="replace")) > _LONGEST_NAME
    if not name or too_long or _WITHOUT_MEANING.search(name):
        message = (
            f"is not a namespace's name - use 1 to {_LONGEST_NAME} bytes without spaces and slashes"
        )
        raise InvalidValue(message)
    return name


def check_every(text: str) -> str:
    """Return `every`, if it is lower case; whether it means anything is seen with its neighbours."""
    if not text.isascii():
        message = (
            "every holds characters that are not ASCII; write <n>s|m|h|d|w or <n>*<other cadence>"
        )
        raise InvalidValue(message)
    if text != text.lower():
        message = f"every {text!r} has capitals; write it in lower case: {text.lower()!r}"
        raise InvalidValue(message)
    return text


def check_phase(text: str) -> str:
    """Return a cadence's phase, if it is a duration."""
    parse_duration(text)
    return text


def check_deadline(text: str) -> str:
    """Return a cadence's deadline, if it is a duration that leaves time for anything."""
    parse_duration(text, least=SHORTEST_DEADLINE)
    return text


def check_no_policy(text: str) -> str:
    """Refuse a policy of a cadence: all cadences of a target share one request to its authority."""
    if text:
        message = "is set for a whole authority: leave it empty, and write policyOID below rfc3161 in anchors.yaml"
        raise InvalidValue(message)
    return text


def unknown_scheme(target: Target, known_schemes: Collection[str]) -> str:
    """Return the refusal of a target whose scheme nobody here can anchor on."""
    meant = did_you_mean(target.scheme, known_schemes)
    mend = f"{meant} Else use" if meant else "use"
    known = ", ".join(sorted(known_schemes))
    return f"{str(target)!r} has an unknown scheme - {mend} one of: {known}"


Every = Annotated[str, AfterValidator(check_every)]
Phase = Annotated[str, AfterValidator(check_phase)]
Deadline = Annotated[str, AfterValidator(check_deadline)]
NoPolicy = Annotated[str, AfterValidator(check_no_policy)]
Confirmations = Annotated[int, Field(ge=0, le=MOST_CONFIRMATIONS)]


_SOME_PERIOD = "1s"
"""Stands for a cadence that is reported elsewhere or does not matter."""
_LABEL_AT = 3
"""Place of a cadence's label in a key path."""


def _check_folder(text: str) -> str:
    """Return the folder below the root, empty for the default one."""
    folder = PurePosixPath(text)
    inside = folder.parts and not folder.is_absolute() and ".." not in folder.parts
    if not inside or "\\" in text or "\x00" in text:
        message = f"{text!r} is not a folder below the root; write one such as {BATCHES_FOLDER}, without .."
        raise InvalidValue(message)
    return "" if str(folder) == BATCHES_FOLDER else str(folder)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class _Foreign(BaseModel):
    """A part that others read: what we don't know there is theirs."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", hide_input_in_errors=True)


class _Witnesses(_Foreign):
    min_required: Annotated[int, Field(ge=1)]
    allowlist: list[str]


class _SchemaPolicy(_Foreign):
    allow: list[str]


class CadenceEntry(_Strict):
    """One cadence as the file writes it."""

    target: Target
    every: Every
    phase: Phase = "0s"
    confirmations: Confirmations = 0
    policyOID: NoPolicy = ""  # noqa: N815 - the file's own key
    deadline: Deadline | None = None
    """Each batch is promised to be final so long after it was sealed."""

    def config(self) -> CadenceConfig:
        """Return it as the namespace is told it."""
        return CadenceConfig(
            target=self.target,
            every=self.every,
            phase=self.phase,
            required_depth=self.confirmations,
        )


class _Namespace(_Strict):
    description: str = ""
    witnesses: _Witnesses | None = None
    schema_policy: _SchemaPolicy | None = None
    batches: Annotated[str, AfterValidator(_check_folder)] = ""
    cadence: dict[str, CadenceEntry]

    def spec(self, name: str) -> "NamespaceSpec":
        """Return it as the namespace is told it."""
        return NamespaceSpec(
            name=name,
            description=self.description,
            batches=self.batches,
            cadences={
                label: self.cadence[label].config() for label in LABELS if label in self.cadence
            },
            deadlines={
                label: parse_duration(entry.deadline)
                for label, entry in self.cadence.items()
                if entry.deadline is not None
            },
        )


class _Document(_Strict):
    namespaces: dict[str, _Namespace]


class NamespaceSpec(Wire):
    """One namespace, checked."""

    name: str
    description: str = ""
    batches: str = ""
    """Folder of its batches below the root; empty for the default one."""
    cadences: dict[str, CadenceConfig]
    deadlines: dict[str, timedelta] = Field(default_factory=dict)
    """By cadence; who watches them is told by the file, so that a namespace's workflow need not be."""

    @property
    def periods(self) -> dict[str, timedelta]:
        """Period of each cadence."""
        return resolve_periods({label: cadence.every for label, cadence in self.cadences.items()})

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything that a namespace acts on; description and deadlines are not among it.

        Values that equal their default are left out, so that a key added later changes no hash.
        """
        content = self.model_dump(
            mode="json", exclude={"description", "deadlines"}, exclude_defaults=True
        )
        return hashlib.sha256(rfc8785.dumps(content)).hexdigest()

    def configuration(
        self,
        *,
        backoff: Backoff,
        anchor_timeout: timedelta,
        continue_after_events: int,
        keeps: Collection[str] = (),
    ) -> Configuration:
        """Return what this namespace's workflow is told."""
        return Configuration(
            namespace=self.name,
            cadences=self.cadences,
            batches=self.batches,
            backoff=backoff,
            anchor_timeout_seconds=anchor_timeout.total_seconds(),
            continue_after_events=continue_after_events,
            schemes=sorted(SCHEMES),
            config_hash=self.content_hash,
            keeps=sorted(keeps),
        )


@dataclass(frozen=True, slots=True)
class ParsedNamespaces:
    """Everything that namespaces.yaml says."""

    specs: dict[str, NamespaceSpec]
    warnings: tuple[Problem, ...]

    @property
    def content_hash(self) -> str:
        """SHA-256 over the namespaces and their content; independent of layout and order."""
        content = {name: spec.content_hash for name, spec in self.specs.items()}
        return hashlib.sha256(rfc8785.dumps(content)).hexdigest()


def parse_namespaces(document: object) -> ParsedNamespaces:
    """Read the document that namespaces.yaml holds.

    Raises:
        InvalidDocument: with everything that is wrong, not only the first.
    """
    problems = [*_wrong_names(document), *_wrong_cadences(document)]
    try:
        parsed = _Document.model_validate(document)
    except ValidationError as error:
        malformed = [p for p in problems_of(error, _Document) if not _about_wrong_label(p.path)]
        raise InvalidDocument([*malformed, *problems]) from None
    if problems:
        raise InvalidDocument(problems)
    specs = {name: namespace.spec(name) for name, namespace in parsed.namespaces.items()}
    return ParsedNamespaces(specs, tuple(_warnings(parsed)))


def _entries(document: object, *keys: str) -> dict[str, object]:
    """Return the mapping below `keys`, empty if there is none."""
    for key in keys:
        document = document.get(key) if isinstance(document, Mapping) else None
    return dict(document) if isinstance(document, Mapping) else {}


def _wrong_names(document: object) -> list[Problem]:
    problems = []
    for name in _entries(document, "namespaces"):
        try:
            check_name(name)
        except InvalidValue as error:
            problems.append(Problem(("namespaces", name), str(error)))
    return problems


def _wrong_cadences(document: object) -> list[Problem]:
    """Return what is wrong with cadences beyond their form, also where the form is wrong elsewhere."""
    problems: list[Problem] = []
    for name in _entries(document, "namespaces"):
        above = ("namespaces", name, "cadence")
        cadences = _entries(document, *above)
        problems += _wrong_labels(above, cadences)
        known = {label: _entries(cadences, label) for label in LABELS if label in cadences}
        problems += _wrong_periods(
            above, {label: entry.get("every") for label, entry in known.items()}
        )
        for label, entry in known.items():
            message = _unknown_scheme(entry.get("target"))
            if message:
                problems.append(Problem((*above, label, "target"), message))
    return problems


def _wrong_labels(above: KeyPath, cadences: Collection[str]) -> list[Problem]:
    problems = [
        Problem((*above, label), _no_cadence(label)) for label in cadences if label not in LABELS
    ]
    if LABELS[0] not in cadences and cadences:
        problems.append(Problem(above, f"has no {LABELS[0]} - add it, every namespace needs one"))
    return problems


def _no_cadence(label: str) -> str:
    meant = did_you_mean(label, LABELS)
    mend = f"{meant} Else remove it," if meant else "remove it,"
    return (
        "is no cadence (an earlier scheduler dropped it in silence)"
        f" - {mend} or use one of: {', '.join(LABELS)}"
    )


def _about_wrong_label(path: KeyPath) -> bool:
    """Whether a place is in a cadence that cannot exist: what its keys hold does not matter."""
    return path[2:3] == ("cadence",) and len(path) > _LABEL_AT and path[_LABEL_AT] not in LABELS


def _wrong_periods(above: KeyPath, written: Mapping[str, object]) -> list[Problem]:
    """Check each cadence by itself, multiples last, so that a mistake is reported where it is."""
    every = {label: text for label, text in written.items() if _has_form(text)}
    problems: dict[str, Problem] = {}
    for label in sorted(every, key=lambda label: every[label].count("*")):
        reached = _reachable(label, every)
        others = {other: reached.get(other, _SOME_PERIOD) for other in written}
        try:
            resolve_periods(others)
        except InvalidValue as error:
            problems.setdefault(str(error), Problem((*above, label, "every"), str(error)))
    return list(problems.values())


def _has_form(every: object) -> TypeGuard[str]:
    try:
        return isinstance(every, str) and check_every(every) == every
    except InvalidValue:
        return False


def _reachable(label: str, every: Mapping[str, str]) -> dict[str, str]:
    """Return `every` of a cadence and of those that it is a multiple of."""
    reached = {label: every[label]}
    other = every[label].partition("*")[2]
    while other in every and other not in reached:
        reached[other] = every[other]
        other = every[other].partition("*")[2]
    return reached


def _unknown_scheme(target: object) -> str:
    """Return the refusal of a target's scheme; nothing if it is known, or if it is no target at all."""
    try:
        parsed = Target.parse(target) if isinstance(target, str) else None
    except InvalidValue:
        return ""
    known = parsed is None or parsed.scheme in SCHEMES
    return "" if known or parsed is None else unknown_scheme(parsed, SCHEMES)


def _ignored(key: str, known: Collection[str]) -> str:
    mend = did_you_mean(key, known) or "remove it, or check its spelling"
    return f"unknown key, ignored - {mend}"


def _warnings(parsed: _Document) -> list[Problem]:
    warnings = []
    for name, namespace in parsed.namespaces.items():
        foreign = {"witnesses": namespace.witnesses, "schema_policy": namespace.schema_policy}
        for part, content in foreign.items():
            extra = (content.model_extra if content else None) or {}
            known = list(type(content).model_fields) if content else []
            warnings += [
                Problem(("namespaces", name, part, key), _ignored(key, known)) for key in extra
            ]
    if not parsed.namespaces:
        warnings.append(Problem(("namespaces",), "holds no namespace - add one"))
    return warnings
