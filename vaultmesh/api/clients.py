"""Tells which client a request comes from, also through proxies.

`X-Forwarded-For` is believed as far as it was written by proxies that are trusted: from the right, up to the first
address that is none of theirs. What stands further left the client may have written itself.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from aiohttp import web

from vaultmesh.process.api_settings import Network

UNKNOWN = "unknown"
"""Of a peer without an address; all of them share one limit."""
Address = IPv4Address | IPv6Address


def client_of(request: web.Request, trusted: Iterable[Network]) -> str:
    """Return the address of the client that asks."""
    networks = tuple(trusted)
    address = _address(request.remote or "")
    if address is None:
        return UNKNOWN
    for part in reversed(",".join(request.headers.getall("X-Forwarded-For", [])).split(",")):
        if not _is_among(address, networks):
            break
        forwarded = _address(part.strip())
        if forwarded is None:
            break
        address = forwarded
    return str(address)


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_among(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
