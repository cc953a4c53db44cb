"""Writes the headers that every answer has: those that browsers protect by, and CORS as @fastify/cors does."""

from collections.abc import Collection, Mapping

from aiohttp import web

SECURITY: Mapping[str, str] = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Origin-Agent-Cluster": "?1",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "X-Download-Options": "noopen",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Permitted-Cross-Domain-Policies": "none",
    "X-XSS-Protection": "0",
}
METHODS = "GET, HEAD, PUT, PATCH, POST, DELETE"
"""What a page of an allowed origin may use."""


def cors(origin: str | None, allowed: Collection[str]) -> Mapping[str, str]:
    """Return what an answer says about a page's origin: only an allowed one is named."""
    named = {"Access-Control-Allow-Origin": origin} if origin in allowed and origin else {}
    return {"Vary": "Origin", **named, "Access-Control-Allow-Credentials": "true"}


def preflight(request: web.Request) -> web.Response:
    """Answer the question of a browser whether a page may make a request; it is asked of any path."""
    headers = request.headers
    if "Origin" not in headers or "Access-Control-Request-Method" not in headers:
        return web.Response(status=400, text="Invalid Preflight Request")
    answer = web.Response(status=204)
    answer.headers["Access-Control-Allow-Methods"] = METHODS
    if wanted := headers.get("Access-Control-Request-Headers"):
        answer.headers["Access-Control-Allow-Headers"] = wanted
    answer.headers["Vary"] = "Origin, Access-Control-Request-Headers"
    return answer
