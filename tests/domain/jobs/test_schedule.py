"""Whatever happens to a job, each slot is run, missed or skipped, once; and a trigger runs once."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.jobs.messages import JobInput, JobPause, JobSpec, RunEnd, TriggerOrder
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.jobs.schedule import JobSchedule

START = datetime(2026, 1, 15, 10, tzinfo=UTC)
EVERY_TEN_SECONDS = "*/10 * * * * *"
STEPS = ("take", "end", "pause", "resume", "trigger", "again", "go_on", "lose", "configure")


class Life:
    """A job's schedule, driven as its workflow does, and what came of it."""

    def __init__(self) -> None:
        """Begin at a whole ten seconds."""
        self.now = START
        self.revision = 0
        self.schedule = JobSchedule(JobInput(spec=self.spec()), START)
        self.slots: list[datetime] = []
        self.triggers: list[str] = []
        self.ran: list[str] = []

    def spec(self) -> JobSpec:
        return JobSpec(name="job", cron=EVERY_TEN_SECONDS, revision=self.revision)

    def step(self, what: str) -> None:
        """Do one thing."""
        getattr(self, what)()

    def take(self) -> None:
        order = self.schedule.take(self.now)
        if order is not None and order.slot is not None:
            self.slots.append(order.slot)
        elif order is not None:
            self.ran.append(order.run_id)

    def end(self) -> None:
        running, is_written = self.schedule.running, len(self.slots) % 2 == 0
        if running is not None:
            end = RunEnd(run_id=running.run_id, status=RunStatus.COMPLETED, is_written=is_written)
            self.schedule.ended(end, self.now)

    def lose(self) -> None:
        running = self.schedule.running
        if running is not None and running.slot is not None:
            self.slots.remove(running.slot)
            self.schedule.not_taken(self.now)

    def pause(self) -> None:
        self.schedule.pause(JobPause(at=self.now))

    def resume(self) -> None:
        self.schedule.resume(self.now)

    def trigger(self) -> None:
        run_id = f"run {len(self.triggers)}"
        try:
            self.schedule.trigger(TriggerOrder(run_id=run_id))
        except InvalidValue:
            return
        self.triggers.append(run_id)

    def again(self) -> None:
        for known in self.triggers[-1:]:
            self.schedule.trigger(TriggerOrder(run_id=known))

    def go_on(self) -> None:
        if self.schedule.running is None:
            self.schedule = JobSchedule(self.schedule.carried(), self.now)

    def configure(self) -> None:
        self.revision += 1
        paused = self.schedule.spec.paused
        self.schedule.configure(self.spec().model_copy(update={"paused": paused}), self.now)


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 90)), max_size=60))
def test_each_slot_ends_once_whatever_happens(steps: list[tuple[str, int]]) -> None:
    life = Life()
    counts = life.schedule.counts
    for what, seconds in steps:
        life.now += timedelta(seconds=seconds)
        life.step(what)
        newer = life.schedule.counts
        assert newer.missed >= counts.missed
        assert newer.skipped >= counts.skipped
        counts = newer
    for what in ("end", "resume", "take", "end", "take", "end"):
        life.step(what)
    counts = life.schedule.counts
    due = read_cron(EVERY_TEN_SECONDS).count(START, life.now)
    assert len(set(life.slots)) == len(life.slots)
    assert len(life.slots) + counts.missed + counts.skipped == due
    assert life.ran == life.triggers


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 90)), max_size=60))
def test_what_is_not_written_is_carried_until_it_is(steps: list[tuple[str, int]]) -> None:
    life = Life()
    unwritten: set[str] = set()
    for what, seconds in steps:
        life.now += timedelta(seconds=seconds)
        running = life.schedule.running
        life.step(what)
        if what == "end" and running is not None and len(life.slots) % 2:
            unwritten.add(running.run_id)
    order = life.schedule.unwritten(also_counts=True)
    assert {end.run_id for end in (order.ends if order else [])} == unwritten
    if order is not None:
        life.schedule.wrote(order)
    assert life.schedule.unwritten(also_counts=True) is None
