"""What a worker finds out beside all orders: which targets nobody watches, and which signed rounds can't be read."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode

from activities.anchoring import missing_proofs, resume_rounds
from activities.anchoring.audit import Audit
from activities.anchoring.resume_rounds import ResumeRounds
from activities.anchoring.stores import Files
from tests.anchoring.scripted_ledger import EVM, TSA, Stage, owed, request
from vaultmesh.domain.aggregator.messages import RecordState
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.names import REOPENED, REWRITE
from vaultmesh.domain.status import AggregatorView
from vaultmesh.domain.target import Target
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.settings import Settings
from vaultmesh.process.unforeseen import Unforeseen

FIRST = "dao:first"


class StartedAggregators:
    """A client that notes which aggregators are started, and with which signal."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, list[Any]]] = []

    async def start_workflow(self, _name: str, aggregator: Any, **options: Any) -> None:
        """Note one call."""
        signal, arguments = options["start_signal"] or "", options["start_signal_args"]
        self.calls.append((str(aggregator.target), signal, list(arguments)))

    def get_workflow_handle(self, _workflow_id: str) -> "StartedAggregators":
        """Return whom to ask."""
        return self

    async def query(self, *_: object, **__: object) -> None:
        """Answer as a server does where no such workflow runs."""
        message = "no such workflow"
        raise RPCError(message, RPCStatusCode.NOT_FOUND, b"")

    signal = describe = query

    def of(self, target: Target) -> list[tuple[str, list[Any]]]:
        """Return the signals of one target."""
        return [call[1:] for call in self.calls if call[0] == str(target)]


class Unreachable:
    """Targets of which none can be opened."""

    async def open(self, target: Target) -> None:
        """Fail."""
        message = f"{target} does not answer"
        raise NetworkFailure(message)


class Surprising:
    """Targets of which one fails as nobody foresaw."""

    async def open(self, target: Target) -> None:
        """Fail."""
        message = f"no {target} in the table"
        raise KeyError(message) if target == EVM else NetworkFailure(message)


@pytest.fixture
def started() -> StartedAggregators:
    return StartedAggregators()


@asynccontextmanager
async def resuming(
    root: Path,
    started: StartedAggregators,
    monkeypatch: pytest.MonkeyPatch,
    opened: Any = None,
    unforeseen: Unforeseen | None = None,
) -> AsyncIterator[Callable[[Callable[[], bool]], Any]]:
    """Let a worker look for rounds again and again; yields a wait."""
    monkeypatch.setattr(resume_rounds, "PERIOD_SECONDS", 0.02)
    settings = Settings.from_environment({"VMSH_ROOT": str(root)})
    files = Stage(root).files
    resume = ResumeRounds(
        started,  # type: ignore[arg-type]
        files,
        opened or Unreachable(),  # type: ignore[arg-type]
        settings,
        unforeseen or Unforeseen(Metrics()),
    )
    task = asyncio.create_task(resume.run())

    async def until(is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not is_so():
                assert not task.done()
                await asyncio.sleep(0.02)

    yield until
    task.cancel()


async def final_round(stage: Stage, *asking: AnchorRequest) -> Path:
    """Return the folder of a round that is final, of two batches of which one has a receipt."""
    round_id = stage.sign(owed("b1", *asking))
    order = stage.order(RecordState.INCLUDED, round_id, *asking)
    await stage.record(order)
    return stage.root / "out/rounds" / stage.target.path / round_id


async def test_a_target_that_cannot_be_read_leaves_no_other_target_unwatched(
    tmp_path: Path, started: StartedAggregators, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Stage(tmp_path, EVM)
    (broken.root / "out/rounds" / EVM.path / broken.sign(owed("b1")) / "closed.json").mkdir()
    Stage(tmp_path, TSA).sign(owed("b1"))
    async with resuming(tmp_path, started, monkeypatch) as until:
        await until(lambda: bool(started.of(TSA)))


async def test_an_error_that_nobody_foresaw_leaves_no_other_target_unwatched_and_is_shown(
    tmp_path: Path, started: StartedAggregators, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harm: it ended the worker, which Kubernetes restarted into the same error."""
    unforeseen = Unforeseen(Metrics())
    await final_round(Stage(tmp_path), request(FIRST))
    Stage(tmp_path, TSA).sign(owed("b1"))
    async with resuming(tmp_path, started, monkeypatch, Surprising(), unforeseen) as until:
        await until(lambda: len(started.of(TSA)) > 2)
    assert unforeseen.shown() == {f"resume_rounds {EVM}": f"KeyError: 'no {EVM} in the table'"}


async def test_a_round_that_its_aggregator_forgot_is_told_until_the_server_takes_it(
    tmp_path: Path, started: StartedAggregators, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else would tell, and its receipts would stay as they are."""
    stage = Stage(tmp_path)
    stage.sign(owed("b1", request(FIRST)))
    refusals = 2

    async def knows_none(*_: object, **__: object) -> dict[str, object]:
        return AggregatorView(target=str(EVM), run_id="").model_dump(mode="json")

    async def start(name: str, aggregator: Any, **options: Any) -> None:
        nonlocal refusals
        if options.get("start_signal") == REOPENED and refusals:
            refusals -= 1
            message = "unavailable"
            raise RPCError(message, RPCStatusCode.UNAVAILABLE, b"")
        await StartedAggregators.start_workflow(started, name, aggregator, **options)

    monkeypatch.setattr(started, "query", knows_none)
    monkeypatch.setattr(started, "start_workflow", start)

    def times_told() -> int:
        return started.of(EVM).count((REOPENED, [[]]))

    async with resuming(tmp_path, started, monkeypatch) as until:
        await until(lambda: times_told() == 1)
        looks = len(started.calls)
        await until(lambda: len(started.calls) > looks + 3)
    assert (refusals, times_told()) == (0, 1)


async def test_receipts_are_compared_though_rounds_cannot_be_looked_for_and_the_reverse(
    tmp_path: Path, started: StartedAggregators, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        message = "nobody foresaw it"
        raise TypeError(message)

    unforeseen, looks = Unforeseen(Metrics()), list[int]()
    monkeypatch.setattr(Audit, "look", fails)
    Stage(tmp_path, TSA).sign(owed("b1"))
    async with resuming(tmp_path, started, monkeypatch, unforeseen=unforeseen) as until:
        await until(lambda: len(started.of(TSA)) > 2)
    monkeypatch.setattr(Files, "target_of", fails)
    monkeypatch.setattr(Audit, "look", lambda _: looks.append(1) or {})
    async with resuming(tmp_path, started, monkeypatch, unforeseen=unforeseen) as until:
        await until(lambda: len(looks) > 2)
    assert unforeseen.shown() == {"resume_rounds": "TypeError: nobody foresaw it"}


async def test_stale_receipts_of_very_many_rounds_are_named_some_at_a_time_and_each_once(
    tmp_path: Path, started: StartedAggregators, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harm: one message named them all, and a server refuses what has more than 2 MB."""
    every = [f"{number:032x}" for number in range(2 * resume_rounds.MOST_PER_LOOK + 5)]
    looks = iter([{EVM: every}])
    monkeypatch.setattr(Audit, "look", lambda _: next(looks, {}))
    async with resuming(tmp_path, started, monkeypatch) as until:
        await until(lambda: len(started.of(EVM)) == 3)
        await asyncio.sleep(0.2)
    named = [round_ids for _, (round_ids,) in started.of(EVM)]
    assert [len(round_ids) for round_ids in named] == [resume_rounds.MOST_PER_LOOK] * 2 + [5]
    assert [round_id for round_ids in named for round_id in round_ids] == every


async def test_damage_of_a_target_at_rest_is_told_to_its_aggregator_once_and_so_is_its_end(
    tmp_path: Path, started: StartedAggregators, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = await final_round(Stage(tmp_path), request(FIRST)) / "manifest.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:-40])
    async with resuming(tmp_path, started, monkeypatch) as until:
        await until(lambda: started.of(EVM) == [(REOPENED, [[]])])
        await asyncio.sleep(0.2)
        assert started.of(EVM) == [(REOPENED, [[]])]
        manifest.write_bytes(whole)
        await until(lambda: started.of(EVM) == [(REOPENED, [[]])] * 2)


async def test_a_proof_that_could_not_be_had_is_tried_for_again_without_an_order(
    tmp_path: Path, started: StartedAggregators, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing_proofs, "PAUSES_SECONDS", (0.01,) * 1000)
    stage = Stage(tmp_path)
    stage.ledger.unprovable = "asked too often"
    round_id = (await final_round(stage, request(FIRST))).name
    async with resuming(tmp_path, started, monkeypatch, stage.ledger) as until:
        asked = len(stage.ledger.stored_terms)
        await until(lambda: len(stage.ledger.stored_terms) > asked + 2)
        assert started.of(EVM) == []
        stage.ledger.unprovable = ""
        await until(lambda: started.of(EVM)[:1] == [(REWRITE, [[round_id]])])
