"""Blocks that we counted on leave the chain: the same bytes go out again, and receipts follow (E8)."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.docs.readme import REPOSITORY, blocks
from tests.support.evm_system import EvmSystem
from tests.support.log_lines import Line, events
from tests.support.marks import EVM_SYSTEM
from vaultmesh.domain.log_events import LOG_EVENTS, LogEvent

pytestmark = EVM_SYSTEM

NAMESPACE = "dao:reorg"
OF_TEMPORAL = ("workflow_id", "run_id", "activity")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    with EvmSystem(
        tmp_path_factory.mktemp("reorg"),
        block_seconds=None,
        slots_in_an_epoch=70,
        finality="finalized",
    ) as running:
        running.start_worker()
        running.register(NAMESPACE, fast="2s")
        yield running


def mine_until(
    system: EvmSystem, is_done: Callable[[], bool], what: str, seconds: float = 180.0
) -> None:
    def mined() -> bool:
        if system.pool():
            system.anvil.mine()
        time.sleep(0.2)
        return is_done()

    system.wait(mined, what, seconds)


@pytest.mark.parametrize("depth", [1, 2, 12, 64])
def test_a_reorganised_round_is_mined_again_with_the_same_bytes(
    system: EvmSystem, depth: int
) -> None:
    batch = system.seal(NAMESPACE)
    mine_until(system, lambda: system.state(NAMESPACE, batch) == "observed", "inclusion")
    before = system.receipt(NAMESPACE, batch)
    assert before is not None
    if depth > 1:
        system.anvil.mine(depth - 1)
    system.anvil.reorg(depth)
    system.wait(lambda: system.state(NAMESPACE, batch) == "reorged", "the reorganised receipt")
    mine_until(system, lambda: system.state(NAMESPACE, batch) == "observed", "inclusion again")
    after = system.receipt(NAMESPACE, batch)
    assert after is not None
    assert after["txRef"] == before["txRef"]
    assert after["evidence"]["evm"]["blockHash"] != before["evidence"]["evm"]["blockHash"]
    assert after["metadata"]["revision"] > before["metadata"]["revision"]
    system.assert_paid_once({NAMESPACE: [batch]})


def test_several_reorganised_rounds_come_back_in_order(system: EvmSystem) -> None:
    batches = []
    for _ in range(3):
        batches.append(system.seal(NAMESPACE))
        mine_until(system, lambda: system.state(NAMESPACE, batches[-1]) == "observed", "inclusion")
    blocks = [system.receipt(NAMESPACE, batch)["blockNumber"] for batch in batches]  # type: ignore[index]
    system.anvil.reorg(system.anvil.height() - min(blocks) + 1)
    system.wait(
        lambda: all(system.state(NAMESPACE, batch) == "reorged" for batch in batches),
        "three reorganised receipts",
    )
    mine_until(
        system,
        lambda: all(system.state(NAMESPACE, batch) == "observed" for batch in batches),
        "three inclusions",
    )
    system.assert_paid_once({NAMESPACE: batches})


def test_a_round_becomes_final_with_the_tag_and_not_with_depth_alone(system: EvmSystem) -> None:
    batch = system.seal(NAMESPACE)
    mine_until(system, lambda: system.state(NAMESPACE, batch) == "observed", "inclusion")
    system.anvil.mine(100)
    time.sleep(3)
    assert system.state(NAMESPACE, batch) == "observed"
    system.anvil.mine(60)
    system.wait(lambda: system.state(NAMESPACE, batch) == "finalized", "finality")


# --- the log of what happened above -------------------------------------------------------------

FILTER = re.compile(
    r"jq -rR --arg (?P<name>\w+) [A-Z]+ '(?P<filter>[^']+)' worker\.log", re.MULTILINE
)


def life_of(log: str, round_id: str) -> list[list[str]]:
    """Return what the documented command says of a round; the same filter in Python where no `jq` is at hand."""
    (page,) = [
        match
        for block in blocks("sh", (REPOSITORY / "docs" / "logs.md").read_text(encoding="utf-8"))
        for match in FILTER.finditer(block)
        if match["name"] == "round"
    ]
    if jq := shutil.which("jq"):
        command = [jq, "-rR", "--arg", "round", round_id, page["filter"]]
        said = subprocess.run(
            command, input=log, capture_output=True, check=True, text=True, timeout=30
        )
        return [line.split("\t") for line in said.stdout.splitlines()]
    fields = ("time", "event", "tx", "kind", "err")
    return [[str(line.get(name, "")) for name in fields] for line in events(log, round=round_id)]


def logged(system: EvmSystem) -> str:
    return "".join(worker.log.read_text(errors="replace") for worker in system.workers)


def test_the_log_tells_the_whole_life_of_each_round_once(system: EvmSystem) -> None:
    last = events(logged(system), event="signed")[-1]["round"]
    system.wait(lambda: events(logged(system), event="final", round=last), "the last line")
    log = logged(system)
    signed = events(log, event="signed")
    for line in signed:
        life = life_of(log, line["round"])
        words = [said[1] for said in life]
        assert words[:4] == ["sealed", "signed", "broadcast", "included"], life
        again = ["reorganised", "included"] if "reorganised" in words else []
        rest = [word for word in words[4:] if word not in ("success", "final")]
        assert rest == again, life
        assert words.count("success") == 1, life
        assert {said[2] for said in life if said[2]} == {line["tx"]}, life
        assert [said[0] for said in life] == sorted(said[0] for said in life), life
    lives = [[said[1] for said in life_of(log, line["round"])] for line in signed]
    assert sum("reorganised" in life for life in lives) >= 4
    assert lives[-1].count("final") == 1


def test_a_worker_that_replays_everything_logs_nothing_again(system: EvmSystem) -> None:
    before = len(events(logged(system)))
    system.workers[-1].stop()
    system.start_worker()
    batch = system.seal(NAMESPACE)
    mine_until(system, lambda: system.state(NAMESPACE, batch) == "observed", "inclusion")
    news = events(logged(system))[before:]
    rounds = {line["round"] for line in news if "round" in line}
    (sealed,) = events(logged(system), event="sealed", batch=batch)
    assert rounds == {sealed["round"]}


def test_lines_about_events_have_the_fields_of_their_table(system: EvmSystem) -> None:
    whole = [json.loads(line) for line in logged(system).splitlines() if line.startswith("{")]
    assert [strange for line in whole if (strange := strange_fields(line))] == []


def strange_fields(line: Line) -> set[str]:
    """Return what stands in a line about an event that neither its row has, nor every line."""
    if "event" not in line:
        return set()
    row = LOG_EVENTS[LogEvent(line["event"])]
    everywhere = {"level", "time", "service", "version", "event", "msg", *OF_TEMPORAL}
    return set(line) - everywhere - set(row.fields)
