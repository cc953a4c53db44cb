"""Writes the example configuration of `dev`: every ledger, cadences of seconds, and tasks on a sample table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from devnet.sample_table import AGE_COLUMN, OLD_MINUTES, TABLE

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
_ANCHORS = """# The ledgers of this system; edit and save, and the worker follows. `starter.py dev` changes a port here if it has to.
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
MAINTENANCE = f"""# Tasks on the PostgreSQL of this system; edit and save. `starter.py dev` writes the line of the database at each start.
database: ""
defaults:
  cron: "*/5 * * * *"
  deadline: 60s
  lockTimeout: 2s
  statementTimeout: 50s
tasks:
  statistics:          # decides for each table: ANALYZE, VACUUM, VACUUM (FREEZE), or nothing
    kind: vacuum
    tables: all
    deadRatio: 0.2
    minDead: 50
    freezeAge: 100000000
  sample-vacuum:       # three times a minute, so that dead rows can be watched as they come and go
    kind: vacuum
    cron: "*/20 * * * * *"
    tables: [{TABLE}]
    deadRatio: 0.05
  sample-retention:    # half of the rows that come are up to an hour old
    kind: retain
    cron: "*/30 * * * * *"
    table: {TABLE}
    ageColumn: {AGE_COLUMN}
    keep: {OLD_MINUTES}m
    minKeep: 5m
    batch: 500
    archive: {{ folder: out/archive/sample-events, keep: 1h }}
"""
_LOCAL_PORT = re.compile(r"(?<=127\.0\.0\.1:)[0-9]+")
_DATABASE = re.compile(r"^database:.*$", re.MULTILINE)


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


def with_ports(text: str, moved: Mapping[int, int]) -> str:
    """Return a configuration with other ports of this machine, by what they were; nothing else of it changes."""
    return _LOCAL_PORT.sub(lambda port: str(moved.get(int(port[0]), port[0])), text)


def with_database(text: str, url: str) -> str:
    """Return maintenance.yaml with the URL of its database; nothing else of it changes."""
    return _DATABASE.sub(lambda _: f'database: "{url}"', text, count=1)
