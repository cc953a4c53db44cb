"""What commands say of themselves, wherever they run."""

import getpass
import os
import socket

import pytest

from vaultmesh.cli import output


def test_a_container_whose_user_has_no_name_keeps_nobody_from_stopping_a_namespace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nameless(_: int) -> object:
        message = "getpwuid(): uid not found"
        raise KeyError(message)

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nameless)
    with pytest.raises(KeyError):
        getpass.getuser()
    assert output.who() == f"{os.getuid()}@{socket.gethostname()}"
