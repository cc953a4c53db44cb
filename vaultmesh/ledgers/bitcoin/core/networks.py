"""Names Bitcoin's networks and their first blocks."""

from collections.abc import Mapping
from enum import StrEnum


class Network(StrEnum):
    """The reference of a target, and the value of `network`."""

    MAINNET = "mainnet"
    """The one whose coins are worth something."""
    TESTNET = "testnet"
    """Test network 3 or 4; the first reservation decides which."""
    SIGNET = "signet"
    """A test network whose blocks are signed."""
    REGTEST = "regtest"
    """A private one, with blocks at will."""

    @property
    def geneses(self) -> Mapping[str, str]:
        """Genesis block by the node's own name of the chain (B14)."""
        return _GENESES[self]

    @property
    def easiest_target(self) -> int:
        """The largest target that a header of the network may claim: the rule of consensus called `powLimit`."""
        return _EASIEST_TARGETS[self]


_EASIEST_TARGETS: Mapping[Network, int] = {
    Network.MAINNET: 0xFFFF << 208,
    Network.TESTNET: 0xFFFF << 208,
    Network.SIGNET: 0x0377AE << 216,
    Network.REGTEST: 0x7FFFFF << 232,
}
"""What the compact forms 1d00ffff, 1e0377ae and 207fffff stand for."""
_GENESES: Mapping[Network, Mapping[str, str]] = {
    Network.MAINNET: {"main": "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"},
    Network.TESTNET: {
        "test": "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943",
        "testnet4": "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043",
    },
    Network.SIGNET: {"signet": "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6"},
    Network.REGTEST: {
        "regtest": "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
    },
}
