"""Describes the API: an OpenAPI document, made from the table of routes and their models, and a page that shows it."""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from http import HTTPStatus
from typing import Literal, cast

from aiohttp import web
from pydantic import BaseModel, JsonValue
from pydantic.json_schema import models_json_schema

from vaultmesh.api.auth import Access
from vaultmesh.api.models import ErrorAnswer
from vaultmesh.api.routes import Route
from vaultmesh.process.version import VERSION

DOCUMENT_PATH, PAGE_PATH = "/openapi.json", "/openapi"
Form = tuple[type[BaseModel], Literal["validation", "serialization"]]
References = Mapping[Form, dict[str, JsonValue]]
_SECURITY: Mapping[Access, list[JsonValue]] = {
    Access.ANYBODY: [],
    Access.SERVICE: [{"service": []}],
    Access.ADMIN: [{"admin": []}, {"adminJwt": []}],
}
_REFUSALS: Mapping[Access, tuple[int, ...]] = {
    Access.ANYBODY: (),
    Access.SERVICE: (401,),
    Access.ADMIN: (401, 403, 503),
}
_OF_BODIES = (400, 408, 413, 415)
_SCHEMES: Mapping[str, JsonValue] = {
    "service": {"type": "apiKey", "in": "header", "name": "X-Service-Token", "description": "SERVICE_TOKEN"},
    "admin": {"type": "http", "scheme": "bearer", "description": "ADMIN_TOKEN"},
    "adminJwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                 "description": "JWT of an administrator, by CLERK_PUBLISHABLE_KEY or ADMIN_JWT_ISSUER: RS256 or ES256"},
}  # fmt: skip
_WHO: Mapping[Access, str] = {
    Access.ANYBODY: "anybody",
    Access.SERVICE: "services (X-Service-Token)",
    Access.ADMIN: "administrators (Authorization: Bearer, ADMIN_TOKEN or a JWT)",
}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h2{font:600 1.1rem ui-monospace,monospace;border-top:1px solid #ccc;padding-top:1rem}"
    "pre{background:#f4f4f4;color:#111;padding:.75rem;overflow:auto}"
)
_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True)
class Description:
    """What the API says of itself."""

    document: Mapping[str, JsonValue]
    html: str

    @classmethod
    def of(cls, routes: Sequence[Route]) -> "Description":
        """Describe these routes."""
        document = _document(routes)
        return cls(document, _page(routes, document))

    def page(self) -> web.Response:
        """Return the page; it runs no script and loads nothing."""
        headers = {"Content-Security-Policy": _POLICY}
        return web.Response(text=self.html, content_type="text/html", headers=headers)


def _document(routes: Sequence[Route]) -> Mapping[str, JsonValue]:
    references, schemas = models_json_schema(
        sorted(_forms(routes), key=lambda form: (form[0].__name__, form[1])),
        by_alias=True,
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, JsonValue]] = {}
    for route in routes:
        operation = _operation(route, cast("References", references))
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "VaultMesh scheduler: HTTP cron jobs",
            "version": VERSION,
            "description": "Success is 200. A refusal of a route is {error, message}; one before any route {statusCode, error, message}.",
        },
        "servers": [{"url": "."}],
        "paths": dict[str, JsonValue](paths),
        "components": {"schemas": schemas.get("$defs", {}), "securitySchemes": dict(_SCHEMES)},
    }


def _forms(routes: Sequence[Route]) -> set[Form]:
    """Return what routes take and give."""
    forms: set[Form] = {(ErrorAnswer, "serialization")}
    for route in routes:
        forms.add((route.answer, "serialization"))
        if route.body is not None:
            forms.add((route.body, "validation"))
    return forms


def _operation(route: Route, references: References) -> dict[str, JsonValue]:
    """Return the description of one route."""
    operation: dict[str, JsonValue] = {
        "operationId": route.handler.__name__,
        "summary": summary(route),
        "security": _SECURITY[route.access],
        "responses": _responses(route, references),
    }
    if parameters := [*_path_parameters(route.path), *_query_parameters(route)]:
        operation["parameters"] = parameters
    if route.body is not None:
        schema = references[route.body, "validation"]
        content: JsonValue = {"application/json": {"schema": schema}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _responses(route: Route, references: References) -> dict[str, JsonValue]:
    answer, error = (references[model, "serialization"] for model in (route.answer, ErrorAnswer))
    statuses = {*route.refusals, *_REFUSALS[route.access]}
    statuses |= {429} if route.limited else set()
    statuses |= set(_OF_BODIES) if route.method != "GET" else set()
    statuses |= {500} if route.access is not Access.ANYBODY else set()
    described: dict[str, JsonValue] = {
        "200": {"description": "OK", "content": {"application/json": {"schema": answer}}}
    }
    for status in sorted(statuses):
        is_probe = route.access is Access.ANYBODY
        schema = answer if is_probe and status == HTTPStatus.SERVICE_UNAVAILABLE else error
        described[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {"application/json": {"schema": schema}},
        }
    return described


def _path_parameters(path: str) -> Iterator[JsonValue]:
    for name in re.findall(r"\{(\w+)\}", path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(route: Route) -> Iterator[JsonValue]:
    if route.query is None:
        return
    schema = route.query.model_json_schema(by_alias=True)
    for name, form in schema["properties"].items():
        needed = name in schema.get("required", ())
        yield {"name": name, "in": "query", "required": needed, "schema": form}


def summary(route: Route) -> str:
    """Return in one line what a route does."""
    return " ".join((route.handler.__doc__ or "").split())


def _page(routes: Sequence[Route], document: Mapping[str, JsonValue]) -> str:
    sections = "".join(_section(route) for route in routes)
    schemas = json.dumps(document["components"], indent=2, ensure_ascii=False)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>HTTP cron jobs</title>'
        f"<style>{_STYLE}</style></head><body><h1>HTTP cron jobs {escape(VERSION)}</h1>"
        f'<p>For programs: <a href="{DOCUMENT_PATH[1:]}">openapi.json</a>.</p>'
        f"{sections}<h2>Forms</h2><pre>{escape(schemas)}</pre></body></html>\n"
    )


def _section(route: Route) -> str:
    forms = [
        f"{word} {model.__name__}"
        for word, model in (("takes", route.body), ("query", route.query), ("gives", route.answer))
        if model is not None
    ]
    lines = (summary(route), f"For {_WHO[route.access]}; {', '.join(forms)}.")
    text = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f"<h2>{escape(route.method)} {escape(route.path)}</h2>{text}"
