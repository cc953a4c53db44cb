"""The place where the product's version is known at run time; a test holds it against pyproject.toml."""

VERSION = "1.0.0"
VERIFIER = f"vaultmesh-scheduler/{VERSION}"
"""Who wrote a receipt."""
