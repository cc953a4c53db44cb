"""Defines what a page of the admin page is, what its handler gets, and what it returns.

To add a page, write a module with a handler, a template, and a row; `site.py` lists the modules:

    async def targets(visit: Visit) -> View:
        \"\"\"Show all targets.\"\"\"
        return View("targets.html", "Targets", {"targets": await …})

    PAGES = (Page("targets", targets, heading="Targets"),)

The template extends `base.html` and fills the block `content`. Everything that it writes is escaped.

To add a form, write `<form method="post" action="retry-target">` with its fields, and a page for it:

    async def retry(visit: Visit) -> Redirect:
        \"\"\"Have a target's round sent again.\"\"\"
        await …(visit.field("target"))
        return Redirect(to("target", name=visit.field("target")), "The round is sent again.")

    PAGES = (…, Page("retry-target", retry, method="POST"))

1. A page's name is one segment below `/admin/`. So a link is the page's name and its query, built by `to`, and works
   below any prefix that a proxy strips. Names of things stand in the query, never in the path: `target?name=btc:x`.
2. GET changes nothing. Forms are sent by POST and end in a redirect with a notice, so that reloading sends nothing again.
3. What a handler refuses (`Refused`, `InvalidValue`, `StoreError`, any `DomainError`) becomes a page that says so.
4. There is no script, and no style but `static/style.css`: the policy of the pages lets neither in.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web
from pydantic import JsonValue

from vaultmesh.api.admin.last_seen import LastSeen
from vaultmesh.api.administrators import Administrator
from vaultmesh.api.answers import Refused
from vaultmesh.api.auth import caller_of
from vaultmesh.api.calls import Call, Parts
from vaultmesh.api.jobs import check_name

_MOST_DIGITS = 6
"""Of a page's number; none is longer."""


def to(page: str, /, **query: object) -> str:
    """Return a link to a page of ours; empty values are left out."""
    pairs = [(key, str(value)) for key, value in query.items() if value not in (None, "")]
    return f"{page}?{urlencode(pairs, quote_via=quote)}" if pairs else page


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is logged in."""

    parts: Parts
    request: web.Request
    administrator: Administrator
    fields: Mapping[str, str] = field(default_factory=dict)
    """What a form holds; empty for GET."""
    last_seen: LastSeen = field(default_factory=LastSeen)
    """What this process showed before, for when the store does not answer."""

    @property
    def now(self) -> datetime:
        """This instant."""
        return self.parts.now()

    def argument(self, key: str) -> str:
        """Return what the query says; empty if it says nothing."""
        return self.request.query.get(key, "")

    def field(self, key: str) -> str:
        """Return a field of the form; raises `Refused` if it has none."""
        try:
            return self.fields[key]
        except KeyError:
            message = f"The form has no field {key!r} - go back, and send it again"
            raise Refused(400, "Something is missing", message) from None

    def call(
        self, job: str = "", body: JsonValue = None, *, run: str = "", **query: object
    ) -> Call:
        """Return what the functions of the job API take, as if this administrator called it.

        Raises:
            Refused: no job can have this name.
        """
        check_name(job)
        return Call(
            self.parts,
            self.request,
            caller_of(self.administrator),
            body,
            path_values={"jobName": job, "id": run},
            query_values={key: str(value) for key, value in query.items()},
        )


def page_number(visit: Visit) -> int:
    """Return which part of a long list is wanted, from 1 on; what is no number is 1."""
    written = visit.argument("page")
    number = int(written[:_MOST_DIGITS]) if written.isascii() and written.isdigit() else 1
    return max(1, number)


@dataclass(frozen=True, slots=True)
class View:
    """A page to be shown."""

    template: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)
    """What the template names."""
    status: int = 200
    refresh_seconds: int = 0
    """After it the browser asks again by itself; 0: never."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Another page of ours, which is to be shown next."""

    place: str
    """As `to` returns it."""
    notice: str = ""
    """What that page says first: what was done."""


@dataclass(frozen=True, slots=True)
class Download:
    """A file that the browser keeps."""

    name: str
    """What it is to be called; characters that no file system takes are replaced."""
    content: bytes
    content_type: str = "application/json"


Handler = Callable[[Visit], Awaitable[View | Redirect | Download]]


@dataclass(frozen=True, slots=True)
class Page:
    """One page, or one form's target."""

    name: str
    """One segment below `/admin/`."""
    handler: Handler
    """Its docstring says what it does."""
    method: str = "GET"
    heading: str = ""
    """Stands in the navigation; empty: it does not."""
    of_anchoring: bool = False
    """Whether a process that knows nothing of anchoring leaves it out of the navigation."""
