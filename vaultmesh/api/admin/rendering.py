"""Renders pages: templates, the values that all of them know, and the headers of each answer."""

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import JsonValue

from vaultmesh.api.admin.pages import Download, to
from vaultmesh.domain.errors import printable
from vaultmesh.domain.instants import write_seconds, write_time
from vaultmesh.process.version import VERSION

_HERE = Path(__file__).parent
POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",  # with no-referrer a form's Origin would be null
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
"""Of every answer of the admin page."""
_FIRST = "style.css"
"""The sheet that the others build on."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._~-]+")
_LONGEST_FILE_NAME = 150
_A_YEAR_SECONDS = 31_536_000
_FEW, _MINUTE, _HOUR, _DAY = 10, 60, 3_600, 86_400


class Renderer:
    """Makes answers of templates."""

    def __init__(self) -> None:
        """Read the stylesheet; templates are read when they are first asked for."""
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        sheets = sorted(
            (_HERE / "static").glob("*.css"), key=lambda path: (path.name != _FIRST, path.name)
        )
        self._style = "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)
        self._style_version = sha256(self._style.encode()).hexdigest()[:12]
        self._templates.globals |= {"to": to, "version": VERSION}
        self._templates.filters |= {
            "time": time_text, "iso": write_seconds, "exact": write_time, "clock": clock,
            "lasted": lasted, "json": json_block, "json_line": json_line,
        }  # fmt: skip

    def html(
        self, request: web.Request, template: str, values: Mapping[str, Any], status: int = 200
    ) -> web.Response:
        """Return a page; `root` leads from it to the folder of all pages."""
        root = root_of(request)
        known = {"root": root, "style": f"{root}style.css?v={self._style_version}"}
        text = self._templates.get_template(template).render({**known, **values})
        return web.Response(
            text=printable(text), status=status, content_type="text/html", headers=HEADERS
        )

    def download(self, file: Download) -> web.Response:
        """Return a file that the browser keeps, under a name that any file system takes."""
        name = _UNSAFE.sub("_", file.name).lstrip(".")[-_LONGEST_FILE_NAME:] or "file"
        headers = {
            **HEADERS,
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
        }
        return web.Response(body=file.content, content_type=file.content_type, headers=headers)

    def stylesheet(self) -> web.Response:
        """Return the stylesheet; its address holds its hash, so browsers ask once."""
        kept = f"public, max-age={_A_YEAR_SECONDS}, immutable"
        headers = {**HEADERS, "Cache-Control": kept}
        return web.Response(text=self._style, content_type="text/css", headers=headers)


def root_of(request: web.Request) -> str:
    """Return the relative way from a request's path to `/admin/`; empty right below it."""
    depth = request.rel_url.raw_path.count("/") - 2
    return "admin/" if depth < 0 else "../" * depth


def clock(instant: datetime) -> str:
    """Return an instant as people read it, `2026-01-15 10:00:00`."""
    return write_seconds(instant).replace("T", " ").rstrip("Z")


def json_block(value: JsonValue) -> str:
    """Return JSON over several lines."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def json_line(value: JsonValue) -> str:
    """Return JSON in one line."""
    return json.dumps(value, ensure_ascii=False)


def time_text(instant: datetime, now: datetime) -> str:
    """Return how long ago an instant is, or how long until it."""
    seconds = int((instant - now).total_seconds())
    if not seconds:
        return "now"
    text = lasted(abs(seconds) * 1_000)
    return f"in {text}" if seconds > 0 else f"{text} ago"


def lasted(milliseconds: float | timedelta) -> str:
    """Return a length of time in its two largest units that matter: `340 ms`, `4.2 s`, `3 min`, `2 h 5 min`, `3 d 4 h`."""
    if isinstance(milliseconds, timedelta):
        milliseconds = milliseconds.total_seconds() * 1_000
    seconds = milliseconds / 1_000
    if seconds < 1:
        return f"{milliseconds:.0f} ms"
    if seconds < _FEW:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return _two(whole, _MINUTE, "min", 1, "s")
    if whole < _DAY:
        return _two(whole, _HOUR, "h", _MINUTE, "min")
    return _two(whole, _DAY, "d", _HOUR, "h")


def _two(seconds: int, large: int, name: str, small: int, small_name: str) -> str:
    rest = seconds % large // small
    return f"{seconds // large} {name}" + (f" {rest} {small_name}" if rest else "")
