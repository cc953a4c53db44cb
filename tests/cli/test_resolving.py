"""`resolve`: what it asks for, and what it says when nothing may be decided."""

import pytest

from tests.cli.conftest import Command
from tests.support.system import TARGET

pytestmark = [pytest.mark.server, pytest.mark.evm]

ROUND = "ab" * 16


@pytest.mark.parametrize(
    ("decision", "consequence"),
    [
        (["--lost", ROUND], f"the batches of round {ROUND} are anchored again"),
        (["--adopt", ROUND, "0x01"], f"transaction 0x01 counts as one of round {ROUND}"),
        (["--forget", ROUND], "may be paid for a second time"),
        (["--fill"], "fill the gap"),
    ],
)
def test_nothing_is_decided_without_yes(
    operate: Command, decision: list[str], consequence: str
) -> None:
    told = operate("resolve", TARGET, *decision)
    assert (told.code, told.out) == (2, "")
    assert consequence in told.err
    assert "add --yes" in told.err


@pytest.mark.parametrize(
    "arguments",
    [
        [TARGET],
        [TARGET, "--lost", ROUND, "--forget", ROUND],
        [TARGET, "--adopt", ROUND],
        ["nonsense", "--lost", ROUND, "--yes"],
    ],
)
def test_what_is_no_decision_is_bad_usage(operate: Command, arguments: list[str]) -> None:
    assert operate("resolve", *arguments).code == 2


def test_a_target_that_is_not_configured_starts_no_aggregator(operate: Command) -> None:
    told = operate("resolve", "btc:mainnet", "--lost", ROUND, "--yes")
    assert (told.code, told.out) == (2, "")
    assert "btc" in told.err
    assert "btc:mainnet" not in operate("status", "--json").out


@pytest.mark.parametrize("decision", ["--lost", "--forget"])
def test_a_round_that_nobody_knows_is_refused_in_one_line(operate: Command, decision: str) -> None:
    told = operate("resolve", TARGET, decision, ROUND, "--yes")
    assert (told.code, told.out) == (1, "")
    (line,) = told.err.splitlines()
    assert f"{TARGET} refused: " in line
    assert ROUND in line


def test_a_gap_is_not_filled_where_there_is_none(operate: Command) -> None:
    told = operate("resolve", TARGET, "--fill", "--yes")
    assert told.code == 1
    assert "no gap to fill" in told.err
