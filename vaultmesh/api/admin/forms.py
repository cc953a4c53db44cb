"""Reads what a form sends."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from aiohttp import web

from vaultmesh.api.answers import Refused
from vaultmesh.api.bodies import read_bytes
from vaultmesh.domain.jobs.job import check_text

MOST_FIELDS = 100
"""Of one form."""
_FORM = "application/x-www-form-urlencoded"


async def read_fields(request: web.Request) -> Mapping[str, str]:
    """Return a form's fields without the spaces around them; of one that is written twice the last value.

    Raises:
        Refused: it is no form, or holds what no table can.
        BadRequest: it is too large, or did not come.
    """
    if request.content_type != _FORM:
        raise Refused(415, "That is no form", f"Send {_FORM}, as the forms of these pages do.")
    body = await read_bytes(request)
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
        return {key: check_text(value).strip() for key, value in pairs}
    except ValueError as error:
        raise Refused(400, "The form can't be read", f"{error}.") from error
