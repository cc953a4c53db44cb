"""Asks a JSON-RPC node directly, with nothing of the product in between."""

import itertools
import json
import urllib.error
import urllib.request
from typing import Any

_IDS = itertools.count(1)
TIMEOUT_SECONDS = 5.0


class JsonRpcError(Exception):
    """A node refused a call."""

    def __init__(self, code: int, message: str) -> None:
        """Keep the node's code and text."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.text = message


class JsonRpc:
    """One node's endpoint."""

    def __init__(self, url: str) -> None:
        """Ask the node at `url`."""
        self.url = url

    def __call__(self, method: str, *params: Any) -> Any:  # noqa: ANN401 - whatever the node answers
        """Return a call's result.

        Raises:
            JsonRpcError: the node refused it.
            OSError: the node was not reached.
        """
        body = json.dumps({"jsonrpc": "2.0", "id": next(_IDS), "method": method, "params": params})
        request = urllib.request.Request(
            self.url, data=body.encode(), headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            answer = json.load(response)
        if "error" in answer:
            raise JsonRpcError(answer["error"].get("code", 0), answer["error"].get("message", ""))
        return answer["result"]

    def answers(self) -> bool:
        """Whether the node takes calls."""
        try:
            self("eth_chainId")
        except (OSError, ValueError, JsonRpcError):
            return False
        return True
