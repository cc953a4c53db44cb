"""Whatever happens to a job, each slot is run, missed or skipped, once; and a trigger runs once."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.jobs.messages import (
    CloseOrder,
    JobCarried,
    JobInput,
    JobPause,
    JobSpec,
    KeptEnd,
    RunEnd,
    RunOrder,
    SlotCounts,
    TriggerOrder,
    Written,
)
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.jobs.schedule import MOST_AHEAD, JobSchedule
from vaultmesh.domain.jobs.slots import agreed

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
        life.schedule.wrote(order, Written())
    assert life.schedule.unwritten(also_counts=True) is None


class Stored(Life):
    """The same with a store: each run opens its row there, and the workflow may forget what it knew."""

    def __init__(self) -> None:
        """Begin with a store that knows of nothing."""
        super().__init__()
        self.known = SlotCounts()
        self.rows: set[str] = set()
        self.of_slots: set[str] = set()
        self.order: RunOrder | None = None
        self.copy = self.schedule.carried()
        self.opened: SlotCounts | None = None
        """What the store said when the run under way began; None if it was locked."""
        self.closing: CloseOrder | None = None
        self.answer: Written | None = None

    def take(self) -> None:
        order = self.schedule.take(self.now)
        if order is None:
            return
        self.order = order
        self.known = self.opened = agreed(self.known, order.counts)
        if order.slot is not None:
            self.of_slots.add(order.run_id)
            self.rows.add(order.run_id)

    def take_unheard(self) -> None:
        """Begin a run while the store is locked."""
        order = self.schedule.take(self.now)
        if order is not None and order.slot is not None:
            self.of_slots.add(order.run_id)
            self.opened = None

    def end(self) -> None:
        """End the run under way; its worker writes the row, and tells of slots what the store said when it began."""
        running = self.schedule.running
        if running is None:
            return
        self.known = agreed(self.known, running.counts)
        self.rows |= {running.run_id} & self.of_slots
        end = RunEnd(run_id=running.run_id, counts=self.opened, is_written=True)
        self.schedule.ended(end, self.now)

    def die(self) -> None:
        """End the run under way without a word of its worker; the row is closed beside."""
        running = self.schedule.running
        if running is not None:
            self.schedule.ended(RunEnd(run_id=running.run_id), self.now)
        if self.closing is None:
            self.closing = self.schedule.unwritten(also_counts=False)

    def close(self) -> None:
        """Have the store write the ends that wait for it; an activity may run twice."""
        if self.closing is not None:
            self.known = agreed(self.known, self.closing.counts)
            self.rows |= {end.run_id for end in self.closing.ends} & self.of_slots
            done = [end.run_id for end in self.closing.ends]
            self.answer = Written(run_ids=done, counts=self.known)

    def hear(self) -> None:
        """Have the workflow hear what the store answered, however long ago."""
        if self.closing is not None and self.answer is not None:
            self.schedule.wrote(self.closing, self.answer)
            self.closing = self.answer = None

    def all_slots_end_once(self) -> bool:
        """Whether what the store knows adds up to the slots that there were."""
        assert self.known.served is not None
        due = read_cron(EVERY_TEN_SECONDS).count(START, self.known.served)
        return len(self.rows) + self.known.missed + self.known.skipped == due

    def lose(self) -> None:
        """Put the workflow back to an older state, as a reset or an older database does."""
        self.closing = self.answer = None
        self.schedule = JobSchedule(self.copy, self.now)

    def go_on(self) -> None:
        """Copy the workflow's state: what `lose` may put back."""
        if self.schedule.running is None:
            self.copy = self.schedule.carried()

    def configure(self) -> None:
        """Lose the workflow for good; it begins anew with what the store knows."""
        self.closing = self.answer = None
        carried = JobCarried(after=self.known.served, counts=self.known, counts_written=self.known)
        if self.known.served is not None:
            self.schedule = JobSchedule(JobInput(spec=self.spec(), carried=carried), self.now)


FORGETTING = (
    "take", "take", "take_unheard", "end", "end", "die", "close", "hear", "pause", "resume", "lose", "go_on", "configure",
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(FORGETTING), st.integers(0, 90)), max_size=60))
def test_a_workflow_that_was_put_back_counts_no_slot_twice(steps: list[tuple[str, int]]) -> None:
    """The harm: slots that had been run were also counted as missed; after a lock of the store, some were skipped twice."""
    life = Stored()
    for what, seconds in steps:
        life.now += timedelta(seconds=seconds)
        life.step(what)
    rest = ["die", "close", "hear", "die", "close", "hear", "resume", "take", "end", "take"]
    for what, seconds in [(what, 10 if what == "take" else 0) for what in rest]:
        life.now += timedelta(seconds=seconds)
        life.step(what)
    assert life.all_slots_end_once()


def test_a_host_whose_clock_is_ahead_silences_no_job() -> None:
    """The harm: a job that was registered there had no slot until the others' clocks came as far."""
    spec = JobSpec(name="job", cron=EVERY_TEN_SECONDS)
    ahead = JobCarried(after=START + timedelta(days=1))
    schedule = JobSchedule(JobInput(spec=spec, carried=ahead), START)
    assert schedule.next_due() == START + timedelta(seconds=10)
    slightly = JobCarried(after=START + MOST_AHEAD)
    schedule = JobSchedule(JobInput(spec=spec, carried=slightly), START)
    assert schedule.next_due() == START + MOST_AHEAD + timedelta(seconds=10)


def test_a_run_that_had_ended_well_before_its_worker_died_is_no_failure() -> None:
    """The harm: the workflow called a job failing whose row says completed, for a week where it runs weekly."""
    life = Life()
    life.trigger()
    life.take()
    running = life.schedule.running
    assert running is not None
    life.schedule.ended(RunEnd(run_id=running.run_id, error="who knows"), life.now)
    assert life.schedule.failures == 1
    order = life.schedule.unwritten(also_counts=False)
    assert order is not None
    kept = KeptEnd(run_id=running.run_id, status=RunStatus.COMPLETED)
    life.schedule.wrote(order, Written(run_ids=[running.run_id], kept=[kept]))
    assert life.schedule.failures == 0
    assert life.schedule.last_run is not None
    assert (life.schedule.last_run.status, life.schedule.last_run.error) == ("completed", None)
