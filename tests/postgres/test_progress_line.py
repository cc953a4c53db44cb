"""Whoever waits for maintenance at a terminal sees how far it is; a log that goes elsewhere is as it was."""

import json
import os
import re
import termios
import time

from tests.postgres.shop import SECONDS, Shop

SLOW = (
    "ALTER DATABASE shop SET vacuum_cost_delay = '100ms'; "
    "ALTER DATABASE shop SET vacuum_cost_limit = 10"
)
"""A page costs 1 or more: 240 pages take 2.4 s or more, twice."""
MANY_PAGES = (
    "CREATE TABLE goods AS SELECT n AS id, repeat('x', 1500) AS text FROM generate_series(1, 1200) AS n; "
    "DELETE FROM goods WHERE id % 2 = 0"
)


def test_a_long_statement_draws_a_bar_in_a_terminal_and_leaves_no_trace(shop: Shop) -> None:
    shop.sql(MANY_PAGES)
    shop.sql(SLOW)
    shop.write({"statistics": {"kind": "vacuum", "tables": "all"}}, deadline="60s")
    try:
        out, drawn = at_a_terminal(shop, "run", "--once", "--json")
    finally:
        shop.sql("ALTER DATABASE shop RESET ALL")
    assert json.loads(out)["tasks"][0]["outcome"] == "done"
    assert re.search(r"statistics \(1 of 1\): [█░]{20} \d+% public\.goods: for \d+ s, ", drawn)
    assert re.search(r"scanning heap, \d+ of \d+ pages", drawn)
    lines = [line.rpartition("\x1b[K")[2] for line in drawn.splitlines()]
    logged = [json.loads(line)["msg"] for line in lines if line.startswith("{")]
    assert logged[0] == "maintenance task began"
    assert logged[-1] == "maintenance task ended"
    assert lines[-1].startswith("{")


def test_where_nobody_looks_nothing_is_drawn_and_nothing_more_is_loaded(shop: Shop) -> None:
    shop.sql("CREATE TABLE goods AS SELECT 1 AS id")
    ran = shop.command("run", "--once", PYTHONPROFILEIMPORTTIME="1")
    assert ran.code == 0
    assert "vaultmesh.cli.maintenance_report" in ran.errors
    assert "maintenance_progress" not in ran.errors
    assert "\r" not in ran.errors


def at_a_terminal(shop: Shop, *arguments: str) -> tuple[str, str]:
    """Run a command with standard error at a terminal; return its data and what the terminal got."""
    controller, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 140))
    try:
        process = shop.start(*arguments, errors=terminal)
        os.close(terminal)
        drawn, deadline = b"", time.monotonic() + 2 * SECONDS
        while time.monotonic() < deadline:
            try:
                drawn += os.read(controller, 4_096)
            except OSError:  # the process has closed its end
                break
        out, _ = process.communicate(timeout=SECONDS)
    finally:
        os.close(controller)
    return out, drawn.decode()
