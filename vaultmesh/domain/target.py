"""Makes a target's name, `scheme:reference`, a value that cannot be malformed."""

import re
from dataclasses import dataclass
from typing import Any, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.paths import path_form

_FORM = re.compile(
    r"(?P<scheme>[a-z][a-z0-9]{1,15}):(?P<reference>[A-Za-z0-9][-._A-Za-z0-9]{0,63})"
)


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """One outside ledger: a scheme (selects the module) and the ledger's name within it, as in CAIP-2."""

    scheme: str
    reference: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `scheme:reference`.

        Raises:
            InvalidValue: the text has another form.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            message = f"{text!r} is not a target; write scheme:reference, such as eip155:8453"
            raise InvalidValue(message)
        return cls(match["scheme"], match["reference"])

    @override
    def __str__(self) -> str:
        """Return `scheme:reference`."""
        return f"{self.scheme}:{self.reference}"

    @property
    def path(self) -> str:
        """Name of this target's files and folders: `<scheme>_<reference in path form>`."""
        return f"{self.scheme}_{path_form(self.reference)}"

    @classmethod
    def of_path(cls, path: str) -> Self | None:
        """Return the target whose folder is called so; None if the name alone does not say which it is."""
        scheme, _, reference = path.partition("_")
        if _FORM.fullmatch(f"{scheme}:{reference}") is None:
            return None
        target = cls(scheme, reference)
        return target if target.path == path else None

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Let pydantic read a target from text and write it as text."""
        del source, handler

        def validate(value: Any) -> Target:  # noqa: ANN401 - whatever the document holds
            if isinstance(value, Target):
                return value
            if isinstance(value, str):
                return Target.parse(value)
            message = "is not a target - write scheme:reference, such as eip155:8453"
            raise InvalidValue(message)

        return core_schema.no_info_plain_validator_function(
            validate, serialization=core_schema.to_string_ser_schema()
        )
