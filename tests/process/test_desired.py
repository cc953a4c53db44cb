"""When a worker offers a namespace its entry, and when it only shows what differs."""

from vaultmesh.process.desired import (
    LAG_SECONDS,
    NO_WORKFLOW,
    OTHER_CONTENT,
    SETTLED_SECONDS,
    Listed,
    Offer,
    Offers,
)

NAME = "dao:one"


class Worker:
    """One worker's memory, and a clock that moves on with each look."""

    def __init__(self, wanted: str) -> None:
        self.now = 1_000.0
        self.offers = Offers(self.now)
        self.wants(wanted)

    def wants(self, wanted: str) -> None:
        self.offers.want({NAME: wanted})

    def look(self, shown: str | None, *, runs: bool = True, age: float = 0.0) -> Offer | None:
        """Look at a list of this age after the worker has settled, and carry the offer out."""
        self.now += SETTLED_SECONDS + LAG_SECONDS
        offer = self.offers.due(NAME, Listed(self.now - age, runs, shown), self.now)
        if offer is not None:
            self.offers.taken(NAME, self.now)
        return offer

    def drift(self, shown: str | None, *, runs: bool = True) -> str:
        return self.offers.drift(NAME, Listed(self.now + LAG_SECONDS, runs, shown))


def test_what_changed_while_nobody_looked_is_offered_at_the_start() -> None:
    worker = Worker("new")
    assert worker.look("old") is Offer.CONFIGURE
    assert worker.look("new") is None


def test_what_is_there_already_is_not_offered() -> None:
    worker = Worker("new")
    assert worker.look("new") is None
    assert worker.drift("new") == ""


def test_a_worker_that_crashes_early_undoes_nobodys_change() -> None:
    offers = Offers(1_000.0)
    offers.want({NAME: "mine"})
    for now in (1_000.0, 1_000.0 + SETTLED_SECONDS / 2):
        assert offers.due(NAME, Listed(now, runs=True, config_hash="other"), now) is None


def test_a_missing_workflow_is_started_at_once_and_whenever_it_ends() -> None:
    offers = Offers(1_000.0)
    offers.want({NAME: "mine"})
    assert offers.due(NAME, Listed(1_000.0, runs=False), 1_000.0) is Offer.START
    worker = Worker("mine")
    assert [worker.look(None, runs=False) for _ in range(3)] == [Offer.START] * 3
    assert worker.drift(None, runs=False) == NO_WORKFLOW


def test_a_list_from_before_the_last_offer_starts_and_changes_nothing() -> None:
    worker = Worker("one")
    worker.look("none")
    worker.wants("two")
    assert worker.look("one") is Offer.CONFIGURE
    for shown, runs in (("one", True), (None, False)):
        assert worker.look(shown, runs=runs, age=worker.now) is None
    assert worker.offers.drift(NAME, Listed(worker.now - 99, runs=True, config_hash="one")) == ""


def test_another_workers_content_is_shown_and_not_fought() -> None:
    worker = Worker("mine")
    worker.look("none")
    assert worker.look("other") is None
    assert worker.drift("other") == OTHER_CONTENT
    assert worker.drift("mine") == ""


def test_content_of_ones_own_past_is_replaced_once() -> None:
    worker = Worker("old")
    worker.look("none")
    worker.wants("new")
    assert worker.look("old") is Offer.CONFIGURE
    assert worker.look("old") is Offer.CONFIGURE
    assert [worker.look("old") for _ in range(3)] == [None] * 3


def test_two_workers_whose_files_were_changed_back_in_turn_come_to_rest() -> None:
    one, other = Worker("old"), Worker("old")
    shown = "old"
    for worker in (one, other):
        worker.look(shown)
        worker.wants("new")
        shown = "new" if worker.look(shown) else shown
    one.wants("old")
    changes = 0
    for _ in range(20):
        for worker, wanted in ((one, "old"), (other, "new")):
            if worker.look(shown) is not None and shown != wanted:
                shown, changes = wanted, changes + 1
    assert changes <= 3


def test_a_change_back_that_an_old_list_seems_to_show_already_is_offered() -> None:
    worker = Worker("old")
    worker.look("none")
    worker.wants("new")
    worker.look("old")
    worker.wants("old")
    assert worker.look("old", age=worker.now) is Offer.CONFIGURE


def test_a_memo_that_does_not_say_is_no_drift() -> None:
    assert Worker("mine").drift(None) == ""
