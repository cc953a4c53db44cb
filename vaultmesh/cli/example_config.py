"""Writes the example configuration of `dev`: every ledger, and cadences of seconds."""

from dataclasses import dataclass

_NAMESPACES = """# Example namespaces with short cadences; edit and save, and the running namespaces follow.
namespaces:
  dao:vaultmesh:
    description: sub-ledger of the example organisation
    cadence:
      fast:   {{ target: "eip155:{chain}", every: "5s", confirmations: 2 }}
      strong: {{ target: "btc:regtest", every: "3*fast", confirmations: 6 }}
      cold:   {{ target: "rfc3161:tsa", every: "6*fast" }}
  fin:clearing:
    description: a second sub-ledger on the same targets, so that one transaction carries several roots
    cadence:
      fast:   {{ target: "eip155:{chain}", every: "5s", confirmations: 2 }}
      strong: {{ target: "btc:regtest", every: "3*fast", confirmations: 6 }}
      cold:   {{ target: "rfc3161:tsa", every: "6*fast" }}
"""
_ANCHORS = """# Written by `starter.py dev` at each start.
eip155:
  {chain.number}:
    rpcUrl: "{chain.rpc}"
    contract: "{chain.contract}"
    keyFile: keys/evm.key
    confirmations: 2
btc:
  regtest:
    rpcUrl: "{btc}"
    network: regtest
    wallet: anchors
    confirmations: 6
rfc3161:
  tsa:
    urls: ["{tsa}"]
    trustBundle: tsa/roots.pem
    spacing: 0s
"""


@dataclass(frozen=True, slots=True)
class Chain:
    """An EVM chain with its anchor contract."""

    number: int
    rpc: str
    contract: str


def namespaces(chain: int) -> str:
    """Return namespaces.yaml for a chain with this id."""
    return _NAMESPACES.format(chain=chain)


def anchors(chain: Chain, btc: str, tsa: str) -> str:
    """Return anchors.yaml; `btc` and `tsa` are URLs."""
    return _ANCHORS.format(chain=chain, btc=btc, tsa=tsa)
