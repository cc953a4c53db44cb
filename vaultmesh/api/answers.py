"""Writes the API's answers: JSON documents, and refusals in the two forms that clients know.

1. What a route refuses is `{error, message}`; the admin page shows `error` alone.
2. What no route was asked for is `{statusCode, error, message}`, as the framework of the scheduler before us wrote it.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from pydantic import BaseModel, JsonValue

from vaultmesh.domain.errors import DomainError, InvalidValue, printable
from vaultmesh.domain.jobs.refusals import JobRefused, StoreError, StoreErrorKind, UnknownJob

_FORM = "application/json; charset=utf-8"


def json_answer(document: Mapping[str, JsonValue] | BaseModel, status: int = 200) -> web.Response:
    """Return a document as an answer; a model is written by its aliases."""
    if isinstance(document, BaseModel):
        text = document.model_dump_json(by_alias=True)
    else:
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return text_answer(text, status)


def text_answer(text: str, status: int = 200) -> web.Response:
    """Return a JSON text as an answer."""
    return web.Response(
        status=status, body=printable(text).encode(), headers={"Content-Type": _FORM}
    )


class Refused(DomainError):
    """A route's refusal: `{error, message}` with a status."""

    def __init__(self, status: int, error: str, message: str) -> None:
        """Say with which status, under which heading, and why."""
        super().__init__(message)
        self.status = status
        self.error = error

    def answer(self) -> web.Response:
        """Return it as an answer."""
        return json_answer({"error": self.error, "message": str(self)}, self.status)


def refusal_of(error: DomainError, heading: str, job: str) -> Refused:
    """Return how an error is answered; `heading` stands over it unless the error has one of its own."""
    match error:
        case Refused():
            return error
        case UnknownJob():
            return Refused(404, heading, f"Job {job} not found" if job else str(error))
        case InvalidValue() | JobRefused():
            return Refused(400, heading, str(error))
        case StoreError(kind=StoreErrorKind.VALUE):
            return Refused(400, heading, str(error))
        case _:
            return Refused(500, heading, str(error))


class BadRequest(DomainError):
    """A refusal before any route: `{statusCode, error, message}`, where `error` is the status in words."""

    def __init__(
        self, status: int, message: str, more: Mapping[str, JsonValue] | None = None
    ) -> None:
        """Say with which status and why; `more` are further keys of the body."""
        super().__init__(message)
        self.status = status
        self.more = more or {}

    def answer(self) -> web.Response:
        """Return it as an answer."""
        phrase = _PHRASES.get(self.status) or HTTPStatus(self.status).phrase
        body = {"statusCode": self.status, "error": phrase, "message": str(self), **self.more}
        return json_answer(body, self.status)


_PHRASES = {413: "Payload Too Large"}
"""Where Python's words differ between its versions."""


def not_found(request: web.Request) -> web.Response:
    """Return what is said of a path or method that there is not."""
    body = {"error": "Endpoint not found", "path": request.raw_path, "method": request.method}
    return json_answer(body, 404)
