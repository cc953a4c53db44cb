"""Reads the body of a request, within bounds of size, time and depth.

1. With a JSON content type an empty body is `{}`: pages send the type also where there is nothing to say.
2. Without a body and without a content type there is nothing: None.
3. Of a key that is written twice the last value counts, as in JavaScript; NaN and infinities are no JSON.
"""

import asyncio

from aiohttp import web
from pydantic import JsonValue
from pydantic_core import from_json

from vaultmesh.api.answers import BadRequest

MOST_BYTES = 256 * 1024
READ_WITHIN_SECONDS = 10.0
"""A body of that size takes no longer on any line that is fit for use."""
_JSON = "application/json"


async def read_body(request: web.Request, within: float = READ_WITHIN_SECONDS) -> JsonValue:
    """Return what a request's body holds: JSON, a text, or None.

    Raises:
        BadRequest: it is too large, too slow, no JSON, or of another content type.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BadRequest(415, "The body is compressed - send it as it is")
    body = await read_bytes(request, within)
    written = "Content-Type" in request.headers
    if not body and not written:
        return None
    match request.content_type.lower() if written else "":
        case "application/json":
            return _parsed(body) if body else {}
        case "text/plain":
            return body.decode(errors="replace")
        case _:
            raise BadRequest(415, f"Unsupported Media Type - send {_JSON}")


async def read_bytes(request: web.Request, within: float = READ_WITHIN_SECONDS) -> bytes:
    """Return a request's body as it came.

    Raises:
        BadRequest: it is too large, too slow, or broke off.
    """
    if (request.content_length or 0) > MOST_BYTES:
        raise BadRequest(413, _too_large())
    try:
        async with asyncio.timeout(within):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise BadRequest(413, _too_large()) from None
    except TimeoutError:
        message = f"The body did not come within {within:g} s - send it at once"
        raise BadRequest(408, message) from None
    except (ConnectionError, web.RequestPayloadError):
        raise BadRequest(400, "The body broke off - send all of it, as its head says") from None


def _too_large() -> str:
    return f"Request body is too large - send at most {MOST_BYTES} bytes"


def _parsed(body: bytes) -> JsonValue:
    try:
        value: JsonValue = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        message = f"The body is not JSON: {error} - check its quotes, commas and brackets"
        raise BadRequest(400, message) from None
    return value
