"""Draws a dashboard from what a Prometheus holds, as an SVG: `python -m docs.dashboard_picture --prometheus URL --minutes 60 overview`.

Grafana draws the same queries better. This needs none, and shows in documents what the numbers of a real system look like.
"""

import argparse
import json
import re
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from docs.dashboards import COLUMNS, DASHBOARDS, Dashboard, Panel

COLUMN_PIXELS, ROW_PIXELS, GAP = 50, 24, 8
COLOURS = ("#3b6fb6", "#c2571a", "#2f8f5b", "#8a4fa8", "#b03a48", "#6b7280")
"""Series beyond these have the last colour, and no name in the legend."""
STEPS = 120
SUBSTITUTES = {"label": "namespace", "namespace": ".*", "target": ".*", "__rate_interval": "1m"}
"""What stands for the variables of a dashboard."""
_ASK_SECONDS = 10
TITLE_LETTER, LEGEND_LETTER = 0.66, 6
"""The width of a bold letter, in parts of its size; that of a letter of the legend, in pixels."""
_THOUSANDS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_UNITS = {"bytes": (1_048_576, " MiB"), "percentunit": (0.01, " %"), "s": (1, " s")}

Points = Sequence[tuple[float, float]]
Ask = Callable[[str], Sequence[Mapping[str, object]]]
"""Returns what an expression was over the time that is drawn: Prometheus's matrix."""


@dataclass(frozen=True, slots=True)
class Line:
    """One series, and what it is called."""

    name: str
    points: Points


def substituted(expression: str) -> str:
    """Return an expression with something in place of each variable."""
    return re.sub(r"\$(\w+)", lambda match: SUBSTITUTES[match[1]], expression)


def drawn(dashboard: Dashboard, ask: Ask) -> str:
    """Return a dashboard as an SVG."""
    parts, x, y, row = list[str](), 0, 0, 0
    for panel in dashboard.panels:
        if x + panel.width > COLUMNS:
            x, y, row = 0, y + row, 0
        parts.append(_panel(panel, _lines(panel, ask), x * COLUMN_PIXELS, y * ROW_PIXELS))
        x, row = x + panel.width, max(row, panel.height)
    width, height = COLUMNS * COLUMN_PIXELS, (y + row) * ROW_PIXELS
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        f' font-family="system-ui, sans-serif" font-size="12"><title>{escape(dashboard.title)}</title>'
        f'<rect width="{width}" height="{height}" fill="#f3f4f6"/>'
    )
    return "\n".join([head, *parts, "</svg>\n"])


def _lines(panel: Panel, ask: Ask) -> list[Line]:
    lines = []
    for query in panel.queries:
        for series in ask(substituted(query.expression)):
            labels, values = series["metric"], series["values"]
            assert isinstance(labels, dict)  # noqa: S101 - Prometheus's own form
            assert isinstance(values, list)  # noqa: S101 - likewise
            name = _named(substituted(query.legend), labels)
            lines.append(Line(name, [(float(at), float(value)) for at, value in values]))
    return lines


def _named(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), legend)


def _panel(panel: Panel, lines: Sequence[Line], left: int, top: int) -> str:
    width, height = panel.width * COLUMN_PIXELS - GAP, panel.height * ROW_PIXELS - GAP
    body = _number if panel.kind == "stat" else _curves
    size = min(12, int((width - 20) / (TITLE_LETTER * len(panel.title))))
    return (
        f'<g transform="translate({left + GAP // 2} {top + GAP // 2})">'
        f'<rect width="{width}" height="{height}" rx="4" fill="#fff" stroke="#d1d5db"/>'
        f'<text x="10" y="20" fill="#374151" font-weight="600" font-size="{size}">{escape(panel.title)}</text>'
        f"{body(panel, lines, width, height)}</g>"
    )


def _number(panel: Panel, lines: Sequence[Line], width: int, height: int) -> str:
    value = _written(lines[0].points[-1][1], panel.unit) if lines else "–"
    place = f'x="{width // 2}" y="{height - 18}" text-anchor="middle"'
    return f'<text {place} font-size="30" fill="#111827">{value}</text>'


def _curves(panel: Panel, lines: Sequence[Line], width: int, height: int) -> str:
    values = [value for line in lines for _, value in line.points]
    times = [at for line in lines for at, _ in line.points]
    if not values:
        return f'<text x="{width // 2}" y="{height // 2}" text-anchor="middle" fill="#6b7280">no data</text>'
    low, high = min(0.0, *values), max(1e-9, *values) * 1.05
    first, last = min(times), max(*times, min(times) + 1)
    left, top, right, bottom = 62, 32, width - 10, height - 34

    def point(at: float, value: float) -> str:
        x = left + (at - first) / (last - first) * (right - left)
        return f"{x:.1f},{bottom - (value - low) / (high - low) * (bottom - top):.1f}"

    parts = [
        f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#9ca3af"/>',
        *(
            f'<text x="{left - 6}" y="{y}" text-anchor="end" fill="#6b7280">{_written(value, panel.unit)}</text>'
            for y, value in ((top + 8, high / 1.05), (bottom, low))
        ),
    ]
    for number, line in enumerate(lines):
        colour = COLOURS[min(number, len(COLOURS) - 1)]
        points = " ".join(point(*pair) for pair in line.points)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        )
    legend = _legend([line.name for line in lines], (right - left) // LEGEND_LETTER)
    parts.append(f'<text x="{left}" y="{height - 12}" font-size="10">{legend}</text>')
    return "".join(parts)


def _legend(names: Sequence[str], letters: int) -> str:
    """Return the names that have room, in their colours, and how many more there are."""
    parts, used = list[str](), 0
    for name, colour in zip(names, COLOURS[:-1], strict=False):
        used += len(name) + 2
        if used > letters:
            break
        parts.append(f'<tspan fill="{colour}">{escape(name)}  </tspan>')
    more = len(names) - len(parts)
    return "".join(parts) + (f'<tspan fill="{COLOURS[-1]}">+{more}</tspan>' if more else "")


def _written(value: float, unit: str) -> str:
    divisor, name = _UNITS.get(unit, (1, ""))
    number = value / divisor
    for size, letter in _THOUSANDS:
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}{name}"
    return f"{number:.3g}{name}"


def main(arguments: list[str] | None = None) -> int:
    """Print a dashboard as it has been lately."""
    names = {dashboard.name: dashboard for dashboard in DASHBOARDS}
    parser = argparse.ArgumentParser(
        prog="python -m docs.dashboard_picture", description=main.__doc__
    )
    parser.add_argument("dashboard", choices=names)
    parser.add_argument("--prometheus", required=True, metavar="URL")
    parser.add_argument("--minutes", type=float, default=60)
    parsed = parser.parse_args(arguments)
    now = time.time()  # noqa: TID251 - the pictures end now
    seconds = parsed.minutes * 60

    def ask(expression: str) -> Sequence[Mapping[str, object]]:
        parameters = {
            "query": expression,
            "start": now - seconds,
            "end": now,
            "step": max(1, seconds / STEPS),
        }
        url = f"{parsed.prometheus}/api/v1/query_range?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=_ASK_SECONDS) as answer:  # noqa: S310 - the operator's own
            result: Sequence[Mapping[str, object]] = json.load(answer)["data"]["result"]
        return result

    sys.stdout.write(drawn(names[parsed.dashboard], ask))
    return 0


if __name__ == "__main__":
    sys.exit(main())
