"""Tells a form of ours from one of another site.

Browsers say where a request comes from: by `Sec-Fetch-Site`, which no page can set, or where they send none (plain HTTP),
by `Origin`. A request that changes something and says neither comes from no browser's form.
"""

from urllib.parse import urlsplit

from aiohttp import web

from vaultmesh.api.admin.cookies import is_secure

SAFE_METHODS = frozenset({"GET", "HEAD"})


def is_same_origin(request: web.Request) -> bool:
    """Whether a request comes from a page of ours."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site.strip().lower() == "same-origin"
    return _is_of_this_host(request)


def _is_of_this_host(request: web.Request) -> bool:
    try:
        origin = urlsplit(request.headers.get("Origin", ""))
    except ValueError:
        return False
    if origin.scheme not in ("http", "https") or (origin.scheme == "http" and is_secure(request)):
        return False
    # A proxy may send another Host; no form of another site can set either header.
    hosts = (request.headers.get("Host"), request.headers.get("X-Forwarded-Host"))
    return any(
        host and _host(host, origin.scheme) == _host(origin.netloc, origin.scheme) for host in hosts
    )


def _host(netloc: str, scheme: str) -> str:
    """Return a host with its port, without the one that its scheme has anyway."""
    usual = ":443" if scheme == "https" else ":80"
    return netloc.strip().lower().removesuffix(usual)
