"""The description is what the API does: made of its table and models, and shown by a page that runs no script."""

import re
from typing import Any

from tests.api.running import RunningApi
from vaultmesh.api.routes import ROUTES

VERBS = {"GET": "get", "POST": "post", "PUT": "put", "DELETE": "delete"}


async def document(api: RunningApi) -> dict[str, Any]:
    answer = await api.ask("GET", "/openapi.json", headers={})
    assert answer.status == 200
    found: dict[str, Any] = answer.json
    return found


async def test_it_describes_each_route_that_is_served_and_no_other(api: RunningApi) -> None:
    described = {
        (method, path)
        for path, operations in (await document(api))["paths"].items()
        for method in operations
    }
    assert described == {(VERBS[route.method], route.path) for route in ROUTES}
    app = api.server._runner.app if api.server._runner else None
    assert app is not None
    served = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert served == {(route.method, route.path) for route in ROUTES} | {
        ("GET", "/openapi.json"),
        ("GET", "/openapi"),
    }


async def test_every_reference_leads_to_a_form(api: RunningApi) -> None:
    found = await document(api)
    references = re.findall(r"#/components/schemas/([\w.-]+)", str(found))
    assert references
    assert set(references) <= set(found["components"]["schemas"])


async def test_it_has_the_keys_of_bodies_and_queries(api: RunningApi) -> None:
    found = await document(api)
    schemas = found["components"]["schemas"]
    assert {"name", "displayName", "cronExpression", "jobType", "policy"} <= set(
        schemas["JobDefinition"]["properties"]
    )
    assert "config" not in schemas["JobDefinition"]["required"]
    history = found["paths"]["/api/jobs/{jobName}/history"]["get"]
    limit = next(one["schema"] for one in history["parameters"] if one["name"] == "limit")
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 100, 20)
    assert {"from", "to", "days"} == set(schemas["Period"]["properties"])


async def test_what_the_api_refuses_is_described(api: RunningApi) -> None:
    found = await document(api)
    trigger = found["paths"]["/api/jobs/{jobName}/trigger"]["post"]
    assert {"200", "400", "401", "403", "404", "409", "413", "429", "500", "503"} <= set(
        trigger["responses"]
    )
    assert trigger["security"] == [{"admin": []}, {"adminJwt": []}]
    schemes = found["components"]["securitySchemes"]
    assert set(schemes) == {"service", "admin", "adminJwt"}
    assert schemes["adminJwt"]["bearerFormat"] == "JWT"
    away = trigger["responses"]["503"]["content"]["application/json"]["schema"]
    assert away == {"$ref": "#/components/schemas/ErrorAnswer"}
    assert found["paths"]["/api/jobs/register"]["post"]["security"] == [{"service": []}]
    assert found["paths"]["/livez"]["get"]["security"] == []


async def test_the_page_runs_no_script_and_loads_nothing(api: RunningApi) -> None:
    answer = await api.ask("GET", "/openapi", headers={})
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "<script" not in answer.text
    assert not re.search(r"(src|href)=\"(https?:)?/", answer.text)
    for route in ROUTES:
        assert f"{route.method} {route.path}".replace("{", "{") in answer.text


async def test_the_document_is_found_also_below_a_prefix_that_a_proxy_strips(
    api: RunningApi,
) -> None:
    text = (await api.ask("GET", "/openapi", headers={})).text
    assert 'href="openapi.json"' in text
    assert (await document(api))["servers"] == [{"url": "."}]
