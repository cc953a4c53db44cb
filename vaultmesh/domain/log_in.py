"""Tells a log-in that PostgreSQL refuses from a server that is away: somebody has to act on the first, and waiting mends the second.

1. A refused log-in comes without SQLSTATE, so it is known by its words, as PostgreSQL and its poolers write them.
2. A refusal in words of another language counts as a server that is away: it is said, and tried again.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_MENDS: Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(words, re.IGNORECASE), mend)
    for words, mend in (
        (
            r"no password supplied|empty password returned|password (is )?required",
            "write user and password into {setting}",
        ),
        (
            r"authentication failed|wrong password|\bauth failed|Tenant or user not found|no such user",
            "correct user and password in {setting}",
        ),
        (
            r"(role|user) \"[^\"]*\" does not exist|is not permitted to log in|no PostgreSQL user name specified",
            "correct the user in {setting}, or let somebody make it: CREATE ROLE … LOGIN",
        ),
        (
            r"database \"[^\"]*\" does not exist|no such database|database \S+ does not exist",
            "correct the database's name in {setting}, or let somebody make it: CREATE DATABASE …",
        ),
        (
            r"permission denied for database|is not currently accepting connections",
            "let somebody GRANT CONNECT ON DATABASE … to its user, or name another one in {setting}",
        ),
        (
            r"no pg_hba\.conf entry|pg_hba\.conf rejects",
            "let its pg_hba.conf admit this host, user and database, or correct them in {setting}",
        ),
        (
            r"invalid port number|invalid (\S+ )?value: ",
            "correct what follows the host in {setting}",
        ),
        (
            r"does not support SSL|certificate verify failed|(root certificate|private key) file|server certificate for|(tls|ssl)v\d+ alert",
            "correct sslmode, sslrootcert, sslcert and sslkey in {setting}",
        ),
    )
)


@dataclass(frozen=True, slots=True)
class RefusedLogIn:
    """Why a server let nobody in, and how to mend it."""

    why: str
    """Its own words; in one line."""
    mend: str


def refused_log_in(message: str, setting: str) -> RefusedLogIn | None:
    """Return why a log-in was refused, of which the error of a connection tells; None for any other error.

    Args:
        message: what the client library says.
        setting: what names the database, for people.
    """
    for words, mend in _MENDS:
        if match := words.search(message):
            begin = message.rfind("\n", 0, match.start()) + 1
            line = message[begin:].partition("\n")[0]
            return RefusedLogIn(line.rpartition("FATAL:")[2].strip(), mend.format(setting=setting))
    return None
