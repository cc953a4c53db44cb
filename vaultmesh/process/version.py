"""Holds the product's version at run time, which a test compares with pyproject.toml, and tells one build's code from another's."""

import hashlib
from functools import cache
from pathlib import Path

VERSION = "1.0.0"
VERIFIER = f"vaultmesh-scheduler/{VERSION}"
"""Who wrote a receipt."""

_REPOSITORY = Path(__file__).resolve().parents[2]
_CODE = ("vaultmesh", "workflows", "activities")
_DIGITS = 12


@cache
def build_id(repository: Path = _REPOSITORY) -> str:
    """Return what histories call the code that wrote them: the version, and a hash of our source files.

    The SDK's own default reads and hashes every module that is loaded, of libraries too: a tenth of a worker's start.
    """
    digest = hashlib.sha256()
    for file in sorted(file for room in _CODE for file in (repository / room).rglob("*.py")):
        digest.update(str(file.relative_to(repository)).encode() + b"\0" + file.read_bytes())
    return f"{VERSION}+{digest.hexdigest()[:_DIGITS]}"
