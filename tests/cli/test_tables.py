"""What `status` and the demonstration show reads well in 80 columns: whole words, both ends of serials, years."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from rich.console import Console, Group, RenderableType

from vaultmesh.cli.demo_table import Row, demo_table, plain_line
from vaultmesh.cli.status_table import tables
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.status import (
    AwaitingView,
    CadenceView,
    FailureView,
    InFlightView,
    LastAnchorView,
    NamespaceState,
    NamespaceView,
    PausedView,
    RejectedView,
    TargetState,
    TargetView,
)
from vaultmesh.overview.overview import Overview
from vaultmesh.overview.words import due, reached, shortened

COLUMNS = 80
NOW = datetime(2026, 1, 15, 10, 0, tzinfo=UTC)
MESSAGE = (
    "the node at node.example refused the connection because a certificate of the intermediate authority expired "
    "yesterday: renew it, or name another endpoint"
)
SERIALS = ("serial:76794bc7f1f2c95f", "serial:76794bc7f1f2aaaa")


def anchor(tx_ref: str, block: int, state: str, depth: int, required: int) -> LastAnchorView:
    return LastAnchorView(
        slot="1", tx_ref=tx_ref, block=block, at=NOW, finality=state, depth=depth, required_depth=required,
        awaiting=AwaitingView(level="final", since=NOW, depth=depth, required_depth=required) if required > depth else None,
    )  # fmt: skip


def namespace() -> NamespaceView:
    """Return a namespace that shows about everything at once."""
    soon = datetime.now(UTC) + timedelta(days=1)
    flight = InFlightView(
        slot="1", since=NOW, failures=3, last_failure=FailureView(kind=FailureKind.NETWORK, message=MESSAGE)
    )  # fmt: skip
    return NamespaceView(
        namespace="dao:vaultmesh",
        state=NamespaceState.BACKING_OFF,
        cadences={
            "fast": CadenceView(
                target="eip155:8453", every="89s", state=NamespaceState.BACKING_OFF, next_due=soon,
                in_flight=flight, last_anchor=anchor("0x9fb7" + "0" * 56 + "2045", 79, "observed", 3, 12),
            ),
            "strong": CadenceView(
                target="btc:mainnet", every="34*fast", state=NamespaceState.RUNNING, next_due=soon,
                last_anchor=anchor("f" * 64, 100, "finalized", 6, 6),
            ),
            "cold": CadenceView(
                target="rfc3161:tsa", every="1d", state=NamespaceState.PAUSED,
                last_anchor=anchor(SERIALS[0], 0, "finalized", 0, 0),
            ),
        },
        last_rejected=RejectedView(name="pause", at=NOW, reason="'hourly' is none of its cadences; there are: fast"),
    )  # fmt: skip


def shown(*renderables: RenderableType, width: int = COLUMNS) -> str:
    console = Console(width=width, file=StringIO(), record=True, highlight=False, emoji=False)
    console.print(Group(*renderables))
    return console.export_text()


def of_status(width: int = COLUMNS) -> str:
    target = TargetView(target="eip155:8453", state=TargetState.HELD, problems=[MESSAGE])
    return shown(*tables(Overview(namespaces=[namespace()], targets=[target])), width=width)


def rows() -> list[Row]:
    view = namespace()
    return [Row(view.namespace, label, cadence, None) for label, cadence in view.cadences.items()]


@pytest.mark.parametrize(
    "text", [of_status(), shown(demo_table(rows(), 2))], ids=["status", "the demo"]
)
def test_no_line_is_longer_than_the_terminal_and_no_word_is_cut(text: str) -> None:
    assert all(len(line) <= COLUMNS for line in text.splitlines())
    words = text.split()
    assert all(word in words for word in MESSAGE.split())


def test_each_cadence_has_its_state_its_year_and_both_ends_of_its_transaction() -> None:
    fast, strong, cold = (
        line for line in of_status().splitlines() if "2026-01-15 10:00:00" in line
    )
    assert fast.split() == ["fast", "89s", "backing_off", "in", "23", "h", "2026-01-15", "10:00:00", "9fb7…2045", "observed", "3/12"]  # fmt: skip
    assert strong.split()[-2:] == ["ffff…ffff", "finalized"]
    assert cold.split() == ["cold", "1d", "paused", "–", "2026-01-15", "10:00:00", "7679…c95f", "finalized"]  # fmt: skip


def test_an_authority_has_neither_block_nor_depth() -> None:
    assert "0/0" not in of_status()
    assert "block 0" not in of_status()
    line = plain_line(rows()[2])
    assert line == f"dao:vaultmesh cold: {SERIALS[0]}"
    assert " block 79" in plain_line(rows()[0])


def test_serials_that_begin_alike_are_told_apart() -> None:
    assert len({shortened(serial) for serial in SERIALS}) == 2
    assert shortened("serial:07") == "07"
    assert shortened("") == "–"


def test_what_is_wrong_stands_below_its_cadence() -> None:
    text = " ".join(of_status().split())
    assert f"fast: failed 3 times: network: {MESSAGE}" in text
    assert "awaiting: final, 3 of 12, since 2026-01-15T10:00:00Z" in text
    assert "rejected pause at 2026-01-15T10:00:00Z: 'hourly' is none of its cadences" in text


def test_the_tables_of_all_namespaces_stand_below_each_other() -> None:
    other = NamespaceView(namespace="a:" + "long-name-" * 12, cadences={"fast": CadenceView(target="eip155:1", every="1s")})  # fmt: skip
    text = shown(*tables(Overview(namespaces=[namespace(), other], targets=[])))
    starts = {line.index(state) for line in text.splitlines() for state in ("backing_off", "running", "paused") if line.startswith(("fast", "strong", "cold")) and state in line}  # fmt: skip
    assert len(starts) == 1
    assert text.count("next due") == 1


@pytest.mark.parametrize(
    ("state", "depth", "required", "text"),
    [
        ("finalized", 12, 12, "finalized"),
        ("observed", 1, 6, "observed 1/6"),
        ("observed", 12, 12, "observed"),
        ("reorged", 0, 12, "reorged 0/12"),
        ("finalized", 0, 0, "finalized"),
        ("observed", None, None, "observed"),
    ],
)
def test_depth_is_said_while_it_matters(
    state: str, depth: int | None, required: int | None, text: str
) -> None:
    assert reached(state, depth, required) == text


def test_a_slot_is_due_from_now_on() -> None:
    assert due(NOW + timedelta(seconds=5), NOW) == "in 5 s"
    assert due(NOW - timedelta(minutes=5), NOW) == "5 min ago"
    assert due(NOW - timedelta(milliseconds=900), NOW) == "now"
    assert due(None, NOW) == "–"


def test_a_reason_from_elsewhere_gives_the_terminal_of_whoever_looks_no_orders() -> None:
    """The harm: whoever may signal a namespace cleared the operator's screen, and wrote lines of its own there."""
    orders = PausedView(
        reason="\x1b[2J\x1b[31mall is well\r", since=datetime(2026, 1, 1, tzinfo=UTC)
    )
    view = namespace()
    paused = view.model_copy(update={"paused": dict.fromkeys(view.cadences, orders)})
    target = TargetView(target="eip155:1", state=TargetState.PAUSED, paused=orders)
    text = shown(*tables(Overview(namespaces=[paused], targets=[target])))
    assert "all is well" in text
    assert "\x1b[2J" not in text
    assert "\r" not in text
