"""The command `demo` shows what the system does: batches are anchored until they are final, and sample jobs run."""

import argparse
import asyncio
import hashlib
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from temporalio.service import RPCError

from vaultmesh.cli import output
from vaultmesh.cli.demo_table import Row, demo_table, plain_line
from vaultmesh.cli.dev import Subparsers, System, run_in, running
from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.paths import BATCHES_FOLDER
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.status import CadenceView, NamespaceView, read_at
from vaultmesh.domain.target import Target
from vaultmesh.process import anchor_workflows
from vaultmesh.process.config_files import load_namespaces, namespaces_path
from vaultmesh.process.polling import NoAnswer
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.seal_batch import seal_files

if TYPE_CHECKING:
    from vaultmesh.cli.demo_jobs import DemoJobs

SEAL_EVERY_SECONDS = 12.0
LOOK_SECONDS = 0.5
ANSWER_WITHIN = timedelta(seconds=3)
"""A silent namespace is shown as it was."""
ONCE_WITHIN_SECONDS = 240.0
"""`--once` gives up after this; a warm run takes less than a quarter of a minute."""
SAMPLES_PER_BATCH = 3


def add_parser(subparsers: Subparsers) -> None:
    """Add the command `demo`."""
    parser = subparsers.add_parser(
        "demo",
        help="run `dev`, show how sample batches are anchored and sample jobs run",
        description="Run what `dev` runs, seal sample batches and register sample jobs, and show how batches are anchored "
        "and become final, and how jobs run.",
        epilog="example: python starter.py demo --once",
    )
    parser.add_argument(
        "--root", type=Path, help="folder of the system; default: a new temporary one"
    )
    parser.add_argument(
        "--once", action="store_true", help="end when every cadence has a final, verified anchor"
    )
    parser.set_defaults(run=demo)


def demo(arguments: argparse.Namespace) -> int:
    """Run until Ctrl-C, or with `--once` until everything is final; 0 then, 1 if it did not become final in time."""
    return run_in(
        arguments.root,
        lambda root: _demo(root, once=arguments.once),
        if_starting=1 if arguments.once else 0,
    )


async def _demo(root: Path, *, once: bool) -> int:
    from vaultmesh.cli.demo_jobs import DemoJobs  # noqa: PLC0415 - no other command needs the sample service

    started = time.monotonic()
    preparing = asyncio.create_task(DemoJobs.prepare())
    async with running(root, registered=False, own_store=True) as system:
        demo = Demo(system, DemoJobs(system.dev_system.jobs))
        with system.steps.step("sealing sample batches"):
            await asyncio.to_thread(demo.seal_samples)
        await system.register()
        await preparing
        demo.introduce()
        async with demo.jobs.registered():
            if once:
                return await demo.until_final(started)
            await demo.show_until_stopped()
    return 0


class Demo:
    """What the demonstration seals and shows."""

    def __init__(self, system: System, jobs: "DemoJobs") -> None:
        """Demonstrate on a running system, and with these jobs."""
        assert system.settings is not None  # noqa: S101 - it was started
        self._system = system
        self.jobs = jobs
        self._console = output.console()
        from activities.anchoring.stores import Files  # noqa: PLC0415 - loads the registry of targets

        self._files = Files(system.root)
        self._namespaces = load_namespaces(namespaces_path(system.settings)).specs
        self._sealed: list[tuple[str, str]] = []
        """Namespace and id of every batch that this process sealed."""
        self._views: dict[str, NamespaceView] = {}
        """As the namespaces answered last."""
        self._causes: dict[str, str] = {}
        """Why a namespace or target can't go on, by its name."""
        self._printed: set[str] = set()

    def introduce(self) -> None:
        """Say where to look."""
        dev_system = self._system.dev_system
        print(f"root     {self._system.root}")
        print(f"Web UI   {dev_system.temporal.ui}/namespaces/default/workflows")
        print(f"metrics  {dev_system.metrics_url}/metrics")
        print(
            *dev_system.postgres.introduction(),
            *dev_system.jobs.introduction(),
            sep="\n",
            flush=True,
        )

    def seal_samples(self) -> None:
        """Seal one small batch of fresh files for every namespace."""
        folder = self._system.root / "samples"
        folder.mkdir(exist_ok=True)
        store = LocalStore(self._system.root)
        for namespace, spec in self._namespaces.items():
            files = []
            for index in range(SAMPLES_PER_BATCH):
                name = hashlib.sha256(f"{namespace}/{time.time_ns()}/{index}".encode()).hexdigest()[
                    :12
                ]
                files.append(folder / f"sample-{name}.txt")
                files[-1].write_text(f"sample {index} of {namespace}, made at {time.time_ns()}\n")
            sealed = seal_files(
                store,
                namespace,
                files,
                now=int(time.time()),
                folder=spec.batches or BATCHES_FOLDER,
            )
            self._sealed.append((namespace, sealed.batch.id))

    # --- what is shown -------------------------------------------------------------------------

    async def rows(self) -> list[Row]:
        """Return one row per cadence; of a namespace that is silent, as it answered last."""
        targets = {
            str(cadence.target)
            for spec in self._namespaces.values()
            for cadence in spec.cadences.values()
        }
        await asyncio.gather(
            *(self._look(namespace) for namespace in self._namespaces),
            *(self._look_at_target(target) for target in targets),
        )
        known = [self._views[name] for name in self._namespaces if name in self._views]
        return await asyncio.to_thread(self._rows, known)

    async def _looked(self) -> list[Row]:
        """Return the rows, once the jobs were looked at too."""
        rows, _ = await asyncio.gather(self.rows(), self.jobs.look())
        return rows

    def _table(self, rows: Sequence[Row]) -> Group:
        postgres = self._system.dev_system.postgres
        blocks = [*self.jobs.blocks(), *postgres.blocks(datetime.now(UTC))]
        return demo_table(rows, len(self._sealed), blocks)

    async def _look(self, namespace: str) -> None:
        from vaultmesh.overview.look import failing_view  # noqa: PLC0415 - loads the registry of targets

        assert self._system.client is not None  # noqa: S101 - it was started
        try:
            view = await anchor_workflows.namespace_status(
                self._system.client, namespace, ANSWER_WITHIN
            )
        except anchor_workflows.WorkflowFailing as error:
            self._causes[namespace] = f"failing: {error.diagnosis.cause}"
            view = failing_view(self._namespaces[namespace], error.diagnosis)
            self._views.setdefault(namespace, view)
            return
        except (DomainError, RPCError):  # a part is being started again
            return
        self._causes.pop(namespace, None)
        if view is not None:
            self._views[namespace] = view

    async def _look_at_target(self, target: str) -> None:
        assert self._system.client is not None  # noqa: S101 - it was started
        try:
            await anchor_workflows.target_status(self._system.client, target, ANSWER_WITHIN)
        except anchor_workflows.WorkflowFailing as error:
            self._causes[target] = f"{target} is failing: {error.diagnosis.cause}"
        except (NoAnswer, RPCError):
            return
        else:
            self._causes.pop(target, None)

    def _rows(self, views: Sequence[NamespaceView]) -> list[Row]:
        from vaultmesh.overview.joining import counted  # noqa: PLC0415 - loads the registry of targets

        now = datetime.now(UTC)
        return [
            Row(
                view.namespace,
                label,
                cadence,
                self._receipt(view.namespace, cadence),
                self._causes.get(view.namespace) or self._causes.get(cadence.target, ""),
            )
            for view in (counted(read_at(seen, now), self._files) for seen in views)
            for label, cadence in view.cadences.items()
        ]

    def _all_final(self, rows: Sequence[Row]) -> bool:
        """Whether every cadence has a final anchor, and every batch that was sealed here one on each target."""
        if len(self._views) < len(self._namespaces) or not all(row.is_final for row in rows):
            return False
        receipts = self._receipts_of_samples()
        return all(receipt is not None and receipt.is_final for receipt in receipts)

    def _receipts_of_samples(self) -> list[AnchorReceipt | None]:
        return [
            self._files.receipts.read(namespace, batch_id, Target.parse(target))
            for namespace, batch_id in self._sealed
            for target in {cadence.target for cadence in self._views[namespace].cadences.values()}
        ]

    def _receipt(self, namespace: str, cadence: CadenceView) -> AnchorReceipt | None:
        anchor = cadence.last_anchor
        if anchor is None or not anchor.batch_ids:
            return None
        return self._files.receipts.read(
            namespace, anchor.batch_ids[0], Target.parse(cadence.target)
        )

    async def show_until_stopped(self) -> None:
        """Show a live table and seal more samples until told to end."""
        stopped = self._system.stopped
        next_seal = time.monotonic() + SEAL_EVERY_SECONDS
        with Live(console=self._console, auto_refresh=False, transient=False) as live:
            while not stopped.is_set():
                rows = await self._looked()
                if self._console.is_terminal:
                    live.update(self._table(rows), refresh=True)
                else:
                    self._print_news(rows)
                if time.monotonic() >= next_seal:
                    next_seal += SEAL_EVERY_SECONDS
                    await asyncio.to_thread(self.seal_samples)
                try:
                    await asyncio.wait_for(stopped.wait(), LOOK_SECONDS)
                except TimeoutError:
                    continue

    def _print_news(self, rows: Sequence[Row]) -> None:
        """Print, for a program that reads on, the lines that were not printed yet."""
        for line in (*map(plain_line, rows), *self.jobs.lines()):
            if line not in self._printed:
                print(line, flush=True)
                self._printed.add(line)

    async def until_final(self, started: float) -> int:
        """Wait until every cadence has a final anchor, verify each against the chain, and say so."""
        deadline = time.monotonic() + ONCE_WITHIN_SECONDS
        rows = await self._rows_once_final(deadline)
        if self._console.is_terminal:
            self._console.print(self._table(rows))
        print(*map(plain_line, rows), *self.jobs.lines(), sep="\n")
        seconds = time.monotonic() - started
        if not self._all_final(rows) or not await self._all_verified(rows):
            output.note(f"not every cadence has a final, verified anchor after {seconds:.0f} s")
            return 1
        print(f"every cadence has a final, verified anchor after {seconds:.0f} s")
        if not self.jobs.are_shown:
            output.note(f"not every sample job ended as it should after {seconds:.0f} s")
            return 1
        return 0

    async def _rows_once_final(self, deadline: float) -> list[Row]:
        """Return the rows once every cadence has a final anchor, or when the time is up; what changes is shown meanwhile."""
        console = output.console(stderr=True)
        rows: list[Row] = []
        output.note("waiting until every cadence has a final anchor …")
        with Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live:
            while time.monotonic() < deadline and not self._system.stopped.is_set():
                rows = await self._looked()
                if self._all_final(rows) and self.jobs.are_shown:
                    break
                if console.is_terminal:
                    live.update(self._table(rows), refresh=True)
                else:
                    self._note_news(rows)
                await asyncio.sleep(LOOK_SECONDS)
        return rows

    def _note_news(self, rows: Sequence[Row]) -> None:
        """Say on standard error which cadences came further."""
        for row in rows:
            if row.view.last_anchor is not None and (line := plain_line(row)) not in self._printed:
                self._printed.add(line)
                output.note(line)

    async def _all_verified(self, rows: Sequence[Row]) -> bool:
        """Verify what is shown and what was sealed, as `verify` does; say what did not pass."""
        receipts = [row.receipt for row in rows] + self._receipts_of_samples()
        paths = dict.fromkeys(receipt.path for receipt in receipts if receipt is not None)
        return all([await self._verified(path) for path in paths])

    async def _verified(self, path: str) -> bool:
        from vaultmesh.cli.verify import checks_of  # noqa: PLC0415 - loads client libraries

        assert self._system.settings is not None  # noqa: S101 - it was started
        checks = await checks_of(self._system.root / path, self._system.settings)
        for check in checks:
            if not check.passed:
                print(f"{path}: {check.name}: {check.detail}", file=sys.stderr)
        return bool(checks) and all(check.passed for check in checks)
