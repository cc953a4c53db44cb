"""Writes Prometheus's text format fast: a page of a thousand namespaces has tens of thousands of lines.

The client library takes 20 µs for a line, and holds the interpreter meanwhile; here the labels of a series are written once.
"""

from collections.abc import Mapping
from typing import TypeVar

from vaultmesh.domain.tally import Durations

Labels = TypeVar("Labels", bound=tuple[str, ...])
MOST_LABELS_KEPT = 50_000
"""Label texts that are kept for the same names: those of as many cadences."""
_TEXTS: dict[tuple[str, ...], dict[tuple[str, ...], str]] = {}
"""Label texts by names, then by values; threads that write at once write the same."""


def labels_text(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Return the labels of a series as they are written behind its name; nothing if it has none."""
    if not names:
        return ""
    pairs = (
        f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True) if value
    )
    return f"{{{','.join(pairs)}}}"


class Page:
    """A page that grows family by family."""

    def __init__(self, prefix: str) -> None:
        """Begin every name with a prefix."""
        self._prefix = prefix
        self._lines: list[str] = []

    def family(
        self,
        name: str,
        kind: str,
        text: str,
        labels: tuple[str, ...],
        rows: Mapping[Labels, float],
    ) -> None:
        """Add a family of counters or gauges: a value by the values of its labels."""
        full, texts = self._begin(name, kind, text), _texts(labels)
        for values, value in rows.items():
            written = texts.get(values)
            if written is None:
                written = texts[values] = labels_text(labels, values)
            number = value if type(value) is int else _number(value)
            self._lines.append(f"{full}{written} {number}\n")

    def histogram(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...],
        rows: Mapping[Labels, Durations],
    ) -> None:
        """Add a family of histograms."""
        full = self._begin(name, "histogram", text)
        for values, durations in rows.items():
            begun = labels_text(labels, values).removesuffix("}")
            begun, closed = (f"{begun},", f"{begun}}}") if begun else ("{", "")
            below = 0
            names = [*map(_number, durations.bounds), "+Inf"]
            for bound, count in zip(names, durations.buckets, strict=True):
                below += count
                self._lines.append(f'{full}_bucket{begun}le="{bound}"}} {below}\n')
            self._lines.append(f"{full}_sum{closed} {_number(durations.total)}\n")
            self._lines.append(f"{full}_count{closed} {below}\n")

    def _begin(self, name: str, kind: str, text: str) -> str:
        full = f"{self._prefix}_{name}"
        self._lines.append(f"# HELP {full} {text}\n# TYPE {full} {kind}\n")
        return full

    def content(self) -> bytes:
        """Return the page."""
        return "".join(self._lines).encode()


def _texts(labels: tuple[str, ...]) -> dict[tuple[str, ...], str]:
    """Return the texts of labels with these names that were written before; a full memory begins anew."""
    texts = _TEXTS.setdefault(labels, {})
    if len(texts) > MOST_LABELS_KEPT:
        texts = _TEXTS[labels] = {}
    return texts


def _number(value: float) -> str:
    whole = int(value)
    return str(whole) if whole == value else repr(float(value))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
