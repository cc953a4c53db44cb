"""Reads a YAML file as plain values that remember the line they stand on.

1. Keys are texts. Values are texts, whole numbers, true or false, nothing, lists and mappings.
2. Plain scalars are typed as in YAML 1.2, so `yes` and `off` are texts; so are `0x1f` (an address
   or key) and fractions, which keeps their digits.
3. Duplicate keys, tags, merge keys and aliases that contain themselves are refused.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from vaultmesh.domain.errors import ConfigurationError, KeyPath, Problem

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_NODES = 1_000_000
"""Far above any configuration; aliases could otherwise multiply a small file beyond memory."""
_DEEPEST = 50
"""Levels; far above any configuration. Composing a document takes stack for each."""
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_TEXT_TAG = "tag:yaml.org,2002:str"
_IMPLICIT_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("bool", "float", "int", "null", "timestamp", "value", "merge")
)
_CONTAINER_TAGS = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})


@dataclass(frozen=True, slots=True)
class YamlSource:
    """A YAML file's content, with the line of each place in it."""

    path: Path
    document: object
    lines: dict[KeyPath, int]
    content_hash: str
    """SHA-256 of the file's bytes."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with places that the caller can do without."""

    def located(self, problem: Problem) -> str:
        """Return `file:line key.path: message`, with the line of the nearest place that exists."""
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(problem))
        return f"{self.path}:{self._line(problem)} {text}"

    def error(self, problems: Iterable[Problem]) -> ConfigurationError:
        """Return the error that reports these problems, in the order of their lines."""
        return ConfigurationError(
            self.located(problem) for problem in sorted(problems, key=self._line)
        )

    def _line(self, problem: Problem) -> int:
        place = problem.path
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read_yaml(path: Path, *, spares: Callable[[Problem], bool] = lambda _: False) -> YamlSource:
    """Read a YAML file.

    Args:
        path: where it is.
        spares: whether the caller can do without the place that a problem is about.

    Raises:
        ConfigurationError: it can't be read, or is not YAML of the kind described above.
    """
    return parse_yaml(path, read_bytes(path), spares=spares)


def read_bytes(path: Path) -> bytes:
    """Return a configuration file's bytes.

    Raises:
        ConfigurationError: it can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}) - check that it exists and may be read"
        raise ConfigurationError([message]) from error


def parse_yaml(
    path: Path, data: bytes, *, spares: Callable[[Problem], bool] = lambda _: False
) -> YamlSource:
    """Read a YAML file's bytes, as `read_yaml` does; `path` is for messages.

    Raises:
        ConfigurationError: it is not YAML of the kind described above.
    """
    reader = _Reader()
    try:
        text = data.decode("utf-8-sig")
        if _too_deep(text):
            message = f"{path}:1 is nested too deeply - write it flat"
            raise ConfigurationError([message])
        root = yaml.compose(text, Loader=_LOADER)
        document = None if root is None else reader.value(root, ())
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"{path}:{line} is not UTF-8 text - save it as UTF-8"
        raise ConfigurationError([message]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = error.problem or error.context
        message = f"{path}:{line} is not YAML: {problem} - check indentation and quotes"
        raise ConfigurationError([message]) from None
    except yaml.YAMLError as error:
        message = f"{path}:1 is not YAML: {error.__class__.__name__} - remove control characters"
        raise ConfigurationError([message]) from None
    digest = hashlib.sha256(data).hexdigest()
    source = YamlSource(path, document, reader.lines, digest, tuple(reader.problems))
    if not all(map(spares, reader.problems)):
        raise source.error(reader.problems)
    if document is None:
        raise source.error([Problem((), "is empty - write the configuration into it")])
    return source


def _too_deep(text: str) -> bool:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            return True
    return False


class _Reader:
    """Turns nodes into values, and collects where they stand and what is wrong."""

    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self._nodes = 0
        self._open: set[int] = set()

    def value(self, node: yaml.Node, path: KeyPath) -> object:
        """Return a node's value."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._nodes += 1
        if id(node) in self._open or self._nodes > _MOST_NODES:
            self._refuse(path, "holds an alias that multiplies the content - write it out")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in _CONTAINER_TAGS:
            self._refuse(path, "has a tag - remove it")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            items = node.value if isinstance(node, yaml.SequenceNode) else []
            return [self.value(item, (*path, str(index))) for index, item in enumerate(items)]
        finally:
            self._open.discard(id(node))

    def _refuse(self, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(path, message))

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        content: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(path, "has a key that is not a text - write a text")
                continue
            place = (*path, key_node.value)
            line = key_node.start_mark.line + 1
            if key_node.value in content:
                self._refuse(
                    path, f"has the key {key_node.value!r} twice, again on line {line} - remove one"
                )
                continue
            if key_node.tag == "tag:yaml.org,2002:merge":
                self._refuse(path, "has a merge key << - write the keys out")
                continue
            self.lines.setdefault(place, line)
            content[key_node.value] = self.value(value_node, place)
        return content

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> object:
        if node.tag not in _IMPLICIT_TAGS and node.tag != _TEXT_TAG:
            self._refuse(path, "has a tag - remove it")
        text: str = node.value
        if node.style or node.tag == _TEXT_TAG:
            return text
        return typed(text)


def typed(text: str) -> str | int | bool | None:
    """Return what a plain scalar means."""
    if text in _NOTHING:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    return int(text) if _INTEGER.fullmatch(text) else text
