"""Turns a document into the one byte sequence that is hashed (RFC 8785)."""

import rfc8785
from pydantic import JsonValue

from vaultmesh.domain.errors import InvalidValue


def canonical_json(value: JsonValue) -> bytes:
    """Return the canonical bytes.

    Raises:
        InvalidValue: the value has no canonical form, such as a number beyond 2^53.
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        message = f"the document has no canonical form: {error}"
        raise InvalidValue(message) from error
