"""Finds and reads namespaces.yaml, anchors.yaml and maintenance.yaml.

A file is the one that its variable names; else the one below the root's `vmsh/config/` if it exists; else the repository's own.
All problems of a file are reported at once, each on a line with file, line, key and how to mend it.
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vaultmesh.domain.errors import (
    ConfigurationError,
    InvalidDocument,
    InvalidValue,
    KeyPath,
    Problem,
)
from vaultmesh.domain.log_events import LogEvent, log_event
from vaultmesh.domain.maintenance.config import (
    MaintenanceConfig,
    parse_good_tasks,
    parse_maintenance,
)
from vaultmesh.domain.namespaces.config import NamespaceSpec, parse_namespaces
from vaultmesh.domain.namespaces.stopped import Entries
from vaultmesh.domain.paths import (
    ANCHORS_FILE,
    BATCHES_FOLDER,
    CONFIG_FOLDER,
    MAINTENANCE_FILE,
    NAMESPACES_FILE,
)
from vaultmesh.domain.target import Target
from vaultmesh.domain.targets_config import (
    DEFAULT_SECTION,
    CommonSettings,
    Document,
    Reading,
    SettingsT,
    check_sections,
    settings_for,
)
from vaultmesh.process.settings import REPOSITORY, Settings
from vaultmesh.process.yaml_source import YamlSource, parse_yaml, read_bytes, read_yaml, typed

_LOG = logging.getLogger(__name__)
_COUNT = re.compile(r"[0-9]{1,18}")
"""What a variable holds is a text, unless it is a count: `confirmations` must be one."""


def namespaces_path(settings: Settings) -> Path:
    """Return where namespaces.yaml is; `VMSH_NAMESPACES` names another place."""
    return settings.namespaces or _default(settings.root, NAMESPACES_FILE)


def stand_in(settings: Settings) -> Path | None:
    """Return the repository's namespaces.yaml if it is used because a root elsewhere has none."""
    if settings.namespaces is not None or settings.root.resolve() == REPOSITORY.resolve():
        return None
    shipped = REPOSITORY / CONFIG_FOLDER / NAMESPACES_FILE
    return shipped if namespaces_path(settings) == shipped else None


def anchors_path(settings: Settings) -> Path:
    """Return where anchors.yaml is; `VMSH_ANCHORS` names another place."""
    return settings.anchors or _default(settings.root, ANCHORS_FILE)


def maintenance_path(settings: Settings) -> Path:
    """Return where maintenance.yaml is; `VMSH_MAINTENANCE` names another place."""
    return settings.maintenance or _default(settings.root, MAINTENANCE_FILE)


def _default(root: Path, name: str) -> Path:
    own = root / CONFIG_FOLDER / name  # a folder, or a link to nothing, is refused when it is read
    return own if os.path.lexists(own) else REPOSITORY / CONFIG_FOLDER / name


@dataclass(frozen=True, slots=True)
class NamespacesFile:
    """What namespaces.yaml says."""

    path: Path
    specs: dict[str, NamespaceSpec]
    content_hash: str
    """SHA-256 over what the namespaces are; independent of layout, order and comments."""
    warnings: tuple[str, ...]
    """One line each; nothing that stops a start."""
    entries: Entries
    """The same in hashes."""


def batches_folder(namespace: str, path: Path) -> str | None:
    """Return where the batches of a namespace go; None if the namespaces.yaml at `path` does not name it.

    Raises:
        ConfigurationError: with every problem of the file.
    """
    spec = load_namespaces(path).specs.get(namespace)
    return None if spec is None else spec.batches or BATCHES_FOLDER


def load_namespaces(path: Path, environment: Mapping[str, str] | None = None) -> NamespacesFile:
    """Read namespaces.yaml; variables come from the process's environment unless one is given.

    Raises:
        ConfigurationError: with every problem of the file.
    """
    written_at = _written_at(path)
    source = read_yaml(path)
    replacing = _Replacing(os.environ if environment is None else environment)
    document = replacing.everywhere(source.document, ())
    if replacing.problems:
        raise source.error(replacing.problems)
    try:
        parsed = parse_namespaces(document)
    except InvalidDocument as error:
        raise source.error(replacing.without_values(error.problems)) from None
    warnings = tuple(source.located(warning) for warning in parsed.warnings)
    entries = Entries(hashes_of(parsed.specs), written_at)
    return NamespacesFile(path, parsed.specs, parsed.content_hash, warnings, entries)


def _written_at(path: Path) -> float:
    """Return when a file was changed last, in Unix seconds; asked before it is read, so that it is never too new."""
    try:
        return path.stat().st_mtime
    except OSError:  # whoever reads it says so
        return 0.0


CheckSpecs = Callable[[Mapping[str, NamespaceSpec]], None]


class NamespacesSource:
    """namespaces.yaml as it is now: read anew whenever it changed; one that is refused leaves what it said before.

    While the root's own file is gone, the repository's does not stand in for it.
    """

    def __init__(self, settings: Settings, check: CheckSpecs = lambda _: None) -> None:
        """Read the file that the settings name, at the first `look`; `check` refuses what can't be served."""
        self._settings = settings
        self._check = check
        self._lock = threading.Lock()
        self._place = namespaces_path(settings)
        self._seen: bytes | None = None
        self._is_loaded = False
        self._specs: Mapping[str, NamespaceSpec] = {}
        self._entries = Entries({}, 0.0)
        self._targets: frozenset[Target] = frozenset()
        self._refused = ""

    @property
    def refused(self) -> str:
        """Why the file is not in use as it is now; empty if it is."""
        return self._refused

    @property
    def is_stand_in(self) -> bool:
        """Whether the repository's own file is in use because a root elsewhere has none: nobody chose its namespaces."""
        return self._place == stand_in(self._settings)

    @property
    def targets(self) -> frozenset[Target]:
        """Targets that the file names now, also if it is refused because one of them can't be reached."""
        return self._targets

    @property
    def targets_in_use(self) -> frozenset[Target]:
        """Targets of what is configured; others than `targets` while the file is refused."""
        return targets_of(self._specs.values())

    @property
    def entries(self) -> Entries:
        """What is configured in hashes, made once for each content; of a refused file, what it said before."""
        return self._entries

    def names(self) -> Collection[str]:
        """Return the namespaces that are configured. Blocks; thread-safe."""
        return self.look().keys()

    def folders(self) -> Collection[str]:
        """Return the folders of batches that are configured. Blocks; thread-safe."""
        return {spec.batches for spec in self.look().values()}

    def look(self) -> Mapping[str, NamespaceSpec]:
        """Return what is configured: of a refused file, what it said before. Blocks; thread-safe."""
        with self._lock:
            try:
                self._read()
            except (ConfigurationError, OSError) as error:  # a folder that may not be entered, too
                self._refused = str(error)
            else:
                self._refused = ""
            return self._specs

    def _read(self) -> None:
        place = namespaces_path(self._settings)
        if place.is_relative_to(self._settings.root / CONFIG_FOLDER):
            self._place = place
        content = read_bytes(self._place)
        if content == self._seen and not self._refused:
            return
        self._seen = content
        file = load_namespaces(self._place)
        self._targets = targets_of(file.specs.values())
        self._check(file.specs)
        event = LogEvent.RELOADED if self._is_loaded else LogEvent.LOADED
        self._is_loaded = True
        about = {"cfgHash": file.content_hash, "namespaces": len(file.specs)}
        log_event(_LOG, event, file=NAMESPACES_FILE, **about)
        self._specs, self._entries = file.specs, file.entries


def hashes_of(specs: Mapping[str, NamespaceSpec]) -> dict[str, str]:
    """Return the hash of each namespace's entry."""
    return {name: spec.content_hash for name, spec in specs.items()}


def targets_of(specs: Iterable[NamespaceSpec]) -> frozenset[Target]:
    """Return every target that namespaces anchor on."""
    return frozenset(cadence.target for spec in specs for cadence in spec.cadences.values())


class _Replacing:
    """Replaces variables in a whole document, and keeps their values out of messages."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self._environment = environment
        self._written: dict[KeyPath, tuple[str, str]] = {}

    def everywhere(self, value: object, path: KeyPath) -> object:
        """Return the document with every variable in a value replaced."""
        if isinstance(value, dict):
            return {key: self.everywhere(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.everywhere(item, (*path, str(index))) for index, item in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        try:
            replaced = interpolate(value, self._environment)
        except InvalidValue as error:
            self.problems.append(Problem(path, str(error)))
            return value
        self._written[path] = (replaced, value)
        return typed(replaced) if _COUNT.fullmatch(replaced) else replaced

    def without_values(self, problems: Collection[Problem]) -> list[Problem]:
        """Return the problems, those about a replaced value in words that don't quote it."""
        values = [replaced for replaced, _ in self._written.values() if replaced]
        mended = []
        for problem in problems:
            quotes_one = any(repr(value)[1:-1] in problem.message for value in values)
            if problem.path in self._written:
                written = self._written[problem.path][1]
                message = f"{written} has a value that can't stand here - correct the variable"
                mended.append(Problem(problem.path, message))
            elif quotes_one:
                mended.append(
                    Problem(
                        problem.path,
                        "depends on a variable whose value can't stand here - correct it",
                    )
                )
            else:
                mended.append(problem)
        return mended


class AnchorsFile:
    """What anchors.yaml says; variables are replaced only in what is asked for."""

    def __init__(
        self, source: YamlSource, document: Document, environment: Mapping[str, str]
    ) -> None:
        """Keep the file's content and the environment it is read with."""
        self.path = source.path
        self._source = source
        self._document = document
        self._environment = environment
        self.version = source.content_hash
        """Changes with the file's content."""

    def settings(
        self, target: Target, model: type[SettingsT], *, signing: bool = True
    ) -> SettingsT:
        """Return one target's settings; `signing=False` leaves out keys that only a signer needs.

        Raises:
            ConfigurationError: with every problem of these settings.
        """
        reading = Reading(
            environment=self._environment,
            expand=lambda text: interpolate(text, self._environment),
            signing=signing,
        )
        try:
            return settings_for(self._document, target, model, reading)
        except InvalidDocument as error:
            raise self._source.error(error.problems) from None

    def written_secrets(self, target: Target, model: type[CommonSettings]) -> list[str]:
        """Return a line for each secret of a target that stands in the file itself."""
        message = "holds the key itself - write ${NAME} and set that variable, or name a file with keyFile"
        return [
            self._source.located(Problem((target.scheme, section, key), message))
            for section in (DEFAULT_SECTION, target.reference)
            for key, value in self._document.get(target.scheme, {}).get(section, {}).items()
            if key in model.SECRETS and isinstance(value, str) and value and "${" not in value
        ]

    def check(self, models: Mapping[Target, type[CommonSettings]], *, signing: bool = True) -> None:
        """Look at the settings of all these targets at once.

        Raises:
            ConfigurationError: with every problem of all of them.
        """
        problems: list[str] = []
        for target, model in models.items():
            try:
                self.settings(target, model, signing=signing)
            except ConfigurationError as error:
                problems += error.problems
        if problems:
            raise ConfigurationError(problems)


def load_anchors(path: Path, environment: Mapping[str, str] | None = None) -> AnchorsFile:
    """Read anchors.yaml; variables come from the process's environment unless one is given.

    Raises:
        ConfigurationError: it is not YAML, or its outline is wrong; settings are checked when used.
    """
    return _anchors(read_yaml(path), environment)


def _anchors(source: YamlSource, environment: Mapping[str, str] | None) -> AnchorsFile:
    try:
        document = check_sections(source.document)
    except InvalidDocument as error:
        raise source.error(error.problems) from None
    return AnchorsFile(source, document, dict(os.environ if environment is None else environment))


class AnchorsSource:
    """anchors.yaml as it is now: read anew whenever it changed; one that is refused leaves what it said before."""

    def __init__(
        self,
        path: Path,
        environment: Mapping[str, str] | None = None,
        check: Callable[[AnchorsFile], None] = lambda _: None,
    ) -> None:
        """Read from `path`, at the first `current`; `check` refuses a changed file that can't be used."""
        self._path = path
        self._environment = environment
        self._check = check
        self._lock = threading.Lock()
        self._last: tuple[bytes, AnchorsFile] | None = None
        self._refused = ""

    @property
    def refused(self) -> str:
        """Why the file is not in use as it is now; empty if it is."""
        return self._refused

    def current(self) -> tuple[str, AnchorsFile]:
        """Return the version of what is in use, which changes with its content, and what it says. Thread-safe.

        Raises:
            ConfigurationError: it can't be read, is not YAML, or its outline is wrong, and never was right.
        """
        with self._lock:
            try:
                anchors = self._read()
            except ConfigurationError as error:
                self._refused = str(error)
                if self._last is None:
                    raise
                anchors = self._last[1]
            else:
                self._refused = ""
            return anchors.version, anchors

    def _read(self) -> AnchorsFile:
        data = read_bytes(self._path)
        if self._last is not None and self._last[0] == data:
            return self._last[1]
        anchors = _anchors(parse_yaml(self._path, data), self._environment)
        if self._last is not None:
            self._check(anchors)
            log_event(_LOG, LogEvent.RELOADED, file=ANCHORS_FILE, cfgHash=anchors.version)
        self._last = (data, anchors)
        return anchors


def load_maintenance(
    path: Path, environment: Mapping[str, str] | None = None, *, connects: bool = True
) -> MaintenanceConfig:
    """Read maintenance.yaml, as `load_namespaces` does; without `connects`, its database may be left open.

    Raises:
        ConfigurationError: with every problem of the file.
    """
    source = read_yaml(path)
    replacing = _Replacing(os.environ if environment is None else environment)
    document = replacing.everywhere(source.document, ())
    unset = [problem for problem in replacing.problems if connects or problem.path != ("database",)]
    if unset:
        raise source.error(unset)
    try:
        return parse_maintenance(document, connects=connects)
    except InvalidDocument as error:
        raise source.error(replacing.without_values(error.problems)) from None


def load_good_tasks(
    path: Path, *, connects: bool = True
) -> tuple[MaintenanceConfig, Mapping[str, Sequence[str]]]:
    """Read the tasks of maintenance.yaml that can be used, and what is wrong with each other one, by its name.

    Raises:
        ConfigurationError: none can be used, or what all of them share is wrong; with every problem of the file.
    """
    source = read_yaml(path, spares=_is_of_task)
    replacing = _Replacing(os.environ)
    document = replacing.everywhere(source.document, ())
    problems = [*source.problems, *replacing.problems]
    unset = [problem for problem in problems if connects or problem.path != ("database",)]
    if not all(map(_is_of_task, unset)):
        raise source.error(unset)
    try:
        usable = _without_tasks(document, {problem.path[1] for problem in unset})
        config, problems = parse_good_tasks(usable, connects=connects)
    except InvalidDocument as error:
        empty = Problem(("tasks",), MaintenanceConfig.EMPTY)
        problems = [problem for problem in error.problems if not unset or problem != empty]
        raise source.error([*unset, *replacing.without_values(problems)]) from None
    wrong: dict[str, list[str]] = {}
    for problem in [*unset, *replacing.without_values(problems)]:
        wrong.setdefault(problem.path[1], []).append(source.located(problem))
    return config, wrong


def _without_tasks(document: object, names: Collection[str]) -> object:
    """Return maintenance.yaml without some of its tasks."""
    if not isinstance(document, Mapping) or not isinstance(document.get("tasks"), Mapping):
        return document
    tasks = document["tasks"].items()
    return {**document, "tasks": {name: keys for name, keys in tasks if str(name) not in names}}


def _is_of_task(problem: Problem) -> bool:
    """Whether a problem of maintenance.yaml concerns one task alone."""
    return problem.path[:1] == ("tasks",) and len(problem.path) > 1


_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(rf"\$\{{(?P<name>{_NAME})(?::-(?P<default>[^}}]*))?\}}")
_EMPTY_DEFAULTS = ('""', "''")


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """Return the text with every variable replaced.

    Raises:
        InvalidValue: a variable without a default is not set, or `${` begins something else.
    """
    pieces: list[str] = []
    unset: list[str] = []
    end = 0
    for match in _VARIABLE.finditer(text):
        pieces.append(_plain(text[end : match.start()]))
        end = match.end()
        value, default = environment.get(match["name"]), match["default"]
        if default is not None:
            pieces.append(value or ("" if default in _EMPTY_DEFAULTS else default))
        elif value is None:
            unset.append(match["name"])
        else:
            pieces.append(value)
    pieces.append(_plain(text[end:]))
    if unset:
        names = ", ".join(unset)
        message = f"needs the environment variable {names}, which is not set - set it"
        raise InvalidValue(message)
    return "".join(pieces)


def _plain(text: str) -> str:
    if "${" in text:
        message = "holds a malformed variable - write ${NAME} or ${NAME:-default}"
        raise InvalidValue(message)
    return text
