"""Serves the admin page: lets administrators in, and leads each request to its page.

    site = AdminSite(settings, parts, gates)
    site.add_to(app.router)

A request goes this way: rate limit, form of our own, session, fields of the form, handler. Whatever is refused on the way
is a page in words, with the status that the job API would answer.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from vaultmesh.api.admin import audit, job, jobs, maintenance, namespaces, targets
from vaultmesh.api.admin.cookies import (
    Seal,
    drop_session,
    keep_notice,
    keep_session,
    notice_of,
    session_of,
)
from vaultmesh.api.admin.forms import read_fields
from vaultmesh.api.admin.last_seen import LastSeen
from vaultmesh.api.admin.log_in import WrongLogIns
from vaultmesh.api.admin.pages import Download, Page, Redirect, View, Visit, to
from vaultmesh.api.admin.rendering import HEADERS, Renderer, root_of
from vaultmesh.api.admin.same_origin import SAFE_METHODS, is_same_origin
from vaultmesh.api.administrators import (
    UNAUTHORIZED,
    UNAVAILABLE,
    Administrator,
    NotAdmitted,
)
from vaultmesh.api.answers import BadRequest, Refused, refusal_of
from vaultmesh.api.calls import Parts
from vaultmesh.api.clients import client_of
from vaultmesh.api.gates import Gates
from vaultmesh.domain.errors import DomainError
from vaultmesh.process.api_settings import ApiSettings

PREFIX = "/admin"
PAGES: tuple[Page, ...] = (
    *jobs.PAGES, *job.PAGES, *maintenance.PAGES, *namespaces.PAGES, *targets.PAGES, *audit.PAGES,
)  # fmt: skip
"""All pages; those with a heading stand in the navigation, in this order."""
HOME = "jobs"
_LOG_IN, _LOG_OUT, _STYLE = "log-in", "log-out", "style.css"
_NEXT = re.compile(r"[a-z][a-z0-9-]*(\?[\x21-\x7e]*)?")
_FAILED = "This could not be done"
_LOG = logging.getLogger(__name__)
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AdminSite:
    """The admin page of one process."""

    def __init__(
        self,
        settings: ApiSettings,
        parts: Parts,
        gates: Gates,
        *,
        count: Callable[[web.Request], None] = lambda _: None,
        wrong_log_ins: WrongLogIns | None = None,
    ) -> None:
        """Serve these parts.

        Args:
            settings: of the job API.
            parts: what the job API works with.
            gates: say who is an administrator.
            count: counts a request for the rate limit; raises `BadRequest` above it.
            wrong_log_ins: counts wrong tokens.
        """
        self._settings = settings
        self._parts = parts
        self._gates = gates
        self._count = count
        self._seal = Seal(settings.admin_token)
        self._renderer = Renderer()
        self._last_seen = LastSeen()
        self._wrong_log_ins = wrong_log_ins or WrongLogIns()

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes of all pages; every other path below `/admin` is a page that says so."""
        router.add_get(PREFIX, self._guarded(self._home))
        router.add_get(f"{PREFIX}/", self._guarded(self._home))
        router.add_get(f"{PREFIX}/{_STYLE}", self._stylesheet)
        router.add_get(f"{PREFIX}/{_LOG_IN}", self._guarded(self._show_log_in))
        router.add_post(f"{PREFIX}/{_LOG_IN}", self._guarded(self._log_in))
        router.add_post(f"{PREFIX}/{_LOG_OUT}", self._guarded(self._log_out))
        for page in PAGES:
            add = router.add_post if page.method == "POST" else router.add_get
            add(f"{PREFIX}/{page.name}", self._guarded(self._of(page)))
        router.add_route("*", f"{PREFIX}{{rest:(/.*)?}}", self._guarded(self._no_such_page))

    # --- a request's way -------------------------------------------------------------------------------------------

    def _guarded(self, answering: Answering) -> Answering:
        """Count requests, take forms of our own alone, and answer in words what is refused."""

        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                self._count(request)
                if request.method not in SAFE_METHODS and not is_same_origin(request):
                    raise Refused(403, "This form is not ours", _FOREIGN)
                return await answering(request)
            except BadRequest as error:
                return self._message(request, error.status, "This was not taken", str(error))
            except DomainError as error:
                refusal = refusal_of(error, _FAILED, request.query.get("name", ""))
                return self._message(request, refusal.status, refusal.error, str(refusal))
            except Exception as error:  # noqa: BLE001 - one request that fails ends no other
                _LOG.error("page failed", exc_info=error, extra={"path": request.path})
                text = "Something failed that nobody foresaw. The worker's log says what."
                return self._message(request, 500, _FAILED, text)

        return answer

    def _of(self, page: Page) -> Answering:
        async def answer(request: web.Request) -> web.StreamResponse:
            who = await self._administrator(request)
            if who is None:
                return self._to_log_in(request)
            is_form = request.method not in SAFE_METHODS
            fields = await read_fields(request) if is_form else {}
            visit = Visit(self._parts, request, who, fields, self._last_seen)
            match await page.handler(visit):
                case Redirect(place, notice):
                    return self._redirect(request, place, notice)
                case Download() as file:
                    return self._renderer.download(file)
                case View() as view:
                    return self._show(request, view, page.name)

        return answer

    async def _administrator(self, request: web.Request) -> Administrator | None:
        """Return who is logged in; None if nobody is, or may not come in any more."""
        who = session_of(self._seal, request, self._parts.now())
        if who is None:
            return None
        try:
            return await self._gates.readmit(who)
        except NotAdmitted as error:
            if error.status == UNAVAILABLE:
                raise
            return None

    def _show(self, request: web.Request, view: View, page: str = "") -> web.Response:
        """Render a page, with the notice of what was done before it."""
        notice = notice_of(self._seal, request)
        values = {**self._frame(page), **view.values, "title": view.title, "notice": notice}
        answer = self._renderer.html(request, view.template, values, view.status)
        if view.refresh_seconds:
            answer.headers["Refresh"] = str(view.refresh_seconds)
        if notice:
            keep_notice(self._seal, request, answer, "")
        return answer

    def _frame(self, page: str) -> Mapping[str, Any]:
        """Return what every page shows around its own content."""
        return {
            "navigation": [each for each in PAGES if each.heading],
            "page": page,
            "section": _section_of(page),
            "now": self._parts.now(),
            "temporal_silent": self._parts.temporal_silent(),
            "logged_in": True,
        }

    def _redirect(self, request: web.Request, place: str, notice: str = "") -> web.Response:
        headers = {**HEADERS, "Location": f"{root_of(request)}{place}"}
        answer = web.Response(status=303, headers=headers)
        if notice:
            keep_notice(self._seal, request, answer, notice)
        return answer

    def _message(
        self, request: web.Request, status: int, heading: str, text: str
    ) -> web.StreamResponse:
        """Return a page that says one thing."""
        logged_in = session_of(self._seal, request, self._parts.now()) is not None
        values = {
            **self._frame(""),
            "logged_in": logged_in,
            "title": heading,
            "notice": "",
            "text": text,
            "home": HOME if logged_in else _LOG_IN,
        }
        return self._renderer.html(request, "message.html", values, status)

    # --- pages of everybody ----------------------------------------------------------------------------------------

    async def _home(self, request: web.Request) -> web.Response:
        return self._redirect(request, HOME)

    async def _stylesheet(self, request: web.Request) -> web.Response:
        del request
        return self._renderer.stylesheet()

    async def _no_such_page(self, request: web.Request) -> web.StreamResponse:
        text = f"There is no page {request.path!r} that answers {request.method}."
        return self._message(request, 404, "There is no such page", text)

    def _to_log_in(self, request: web.Request) -> web.Response:
        """Lead to the log-in, and back from there to the page that was wanted."""
        if request.method not in SAFE_METHODS:
            return self._redirect(request, _LOG_IN, "Your session has ended. Nothing was changed.")
        wanted = request.rel_url.raw_path_qs.removeprefix(f"{PREFIX}/")
        return self._redirect(request, to(_LOG_IN, next="" if wanted == HOME else wanted))

    async def _show_log_in(self, request: web.Request) -> web.Response:
        return self._log_in_page(request, _next(request.query.get("next", "")))

    def _log_in_page(
        self, request: web.Request, place: str, problem: str = "", status: int = 200
    ) -> web.Response:
        site = request.headers.get("Sec-Fetch-Site", "none")
        values = {
            "logged_in": False,
            "next": place,
            "problem": problem,
            "is_from_elsewhere": site not in ("none", "same-origin"),
        }
        return self._show(request, View("log-in.html", "Log in", values, status))

    async def _log_in(self, request: web.Request) -> web.Response:
        """Take a token, and keep its holder in a cookie."""
        fields = await read_fields(request)
        place = _next(fields.get("next", ""))
        client = client_of(request, self._settings.trusted_proxies)
        if wait := self._wrong_log_ins.take(client):
            problem = f"Ten wrong log-ins in a minute are enough. Try again in {wait} seconds."
            answer = self._log_in_page(request, place, problem, 429)
            answer.headers["Retry-After"] = str(wait)
            return answer
        now = self._parts.now()
        try:
            who = await self._gates.admit(fields.get("token", ""))
        except NotAdmitted as error:
            _LOG.warning("log-in to the admin page refused", extra={"client": client})
            return self._log_in_page(request, place, _why(error, self._gates.kinds), error.status)
        self._wrong_log_ins.give_back(client)
        _LOG.info("logged in to the admin page", extra={"client": client, "actor": who.subject})
        answer = self._redirect(request, place)
        keep_session(self._seal, request, answer, who, now)
        return answer

    async def _log_out(self, request: web.Request) -> web.Response:
        """Have the browser forget the session."""
        answer = self._redirect(request, _LOG_IN, "You are logged out.")
        drop_session(request, answer)
        return answer


_FOREIGN = (
    "It comes from another site, or from a program that does not say where it comes from. Nothing was changed. "
    "Programs use the job API with a bearer token."
)


def _section_of(name: str) -> str:
    """Return the page of the navigation that a page belongs to: the nearest one before it in the table."""
    section = ""
    for page in PAGES:
        section = page.name if page.heading else section
        if page.name == name:
            return section
    return ""


def _why(error: NotAdmitted, kinds: Sequence[str]) -> str:
    """Return why somebody was not let in, and what to do."""
    if error.status != UNAUTHORIZED:
        return str(error)
    mends = {
        "token": "ADMIN_TOKEN is set where the worker runs: paste the whole of it.",
        "user": "A token of your own log-in lasts a minute or so: copy a new one.",
    }
    return f"This token opens nothing. {' '.join(mends[kind] for kind in kinds)}"


def _next(place: str) -> str:
    """Return the page that was wanted before the log-in, if it is one of ours."""
    name = place.partition("?")[0]
    is_ours = any(page.name == name and page.method == "GET" for page in PAGES)
    return place if is_ours and _NEXT.fullmatch(place) else HOME
