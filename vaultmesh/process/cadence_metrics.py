"""Keeps what metrics say of every cadence and namespace, and writes it as a part of the page.

1. Whatever is configured, or runs, has its series from the start, counters at 0: an increase shows from the first one on.
2. A try counts as attempted together with its end, so that what failed is never more than what was attempted: in no process,
   and at no time. Who dies between the two has counted neither.
3. Slots and backoff are read from the memos of the namespaces' workflows, so that no replica shows what another one has
   moved on from. A slot without an anchor changes no memo, or only each few: what the next `anchor` brings of such slots
   is shown by the worker that runs it, if it is more than the memo says. The first time a process hears of a cadence, what
   the memo lacked is from before, and left out: Prometheus would take it for an increase, after each restart anew.
4. The page stays below 2 MB with a thousand namespaces: with many cadences, durations are shown by target, and slots by
   namespace.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.namespaces.config import NamespaceSpec
from vaultmesh.domain.status import CadenceMemo, NamespaceMemo, SlotOutcome
from vaultmesh.domain.tally import Durations
from vaultmesh.domain.target import Target
from vaultmesh.process.counts import NamespaceCounts
from vaultmesh.process.exposition import Page

BUCKETS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_200, 3_600, 7_200, 21_600)
"""Seconds: an anchor takes from a second (a fast chain) to hours (Bitcoin)."""
HIGHEST_LEVEL = 7
"""Backoff levels above it are shown as it."""
DETAILED_CADENCES = 100
"""Up to so many, each cadence has its own histogram: 34 lines, 5 kB."""
MANY_CADENCES = 1_500
"""Up to so many, slots are shown by cadence; above it by namespace, last anchors and drift at 0 are left out, and of what is
due only what is longest overdue is shown (`vaultmesh.process.promises`)."""
_BY_TARGET = 2
"""Labels of a histogram that is counted by target: target and status."""
SUCCESS, FAILURE = "success", "failure"
CADENCE_LABELS = ("namespace", "cadence", "target")

Key = tuple[str, str, str]
"""Namespace, cadence and target."""


@dataclass(slots=True)
class _Ended:
    """Tries that ended."""

    succeeded: int = 0
    failed: int = 0


def expected_memos(specs: Mapping[str, NamespaceSpec]) -> dict[str, NamespaceMemo]:
    """Return what namespaces' memos would say at first, if their workflows ran as configured."""
    return {
        name: NamespaceMemo(
            namespace=name,
            batches=spec.batches,
            cadences={
                label: CadenceMemo(target=str(cadence.target))
                for label, cadence in spec.cadences.items()
            },
        )
        for name, spec in specs.items()
    }


@dataclass(slots=True)
class CadenceMetrics:
    """What one process knows of cadences."""

    prefix: str
    memos: Mapping[str, NamespaceMemo] = field(default_factory=dict)
    """By namespace, as the last visibility list showed them."""
    expected: Mapping[str, NamespaceMemo] = field(default_factory=dict)
    """By namespace, as configured."""
    counts: Mapping[str, NamespaceCounts] = field(default_factory=dict)
    """By namespace, as counted last from files."""
    drift: Mapping[str, bool] = field(default_factory=dict)
    """Which namespaces differ from the file."""
    heard: dict[tuple[str, str], Mapping[SlotOutcome, int]] = field(default_factory=dict)
    """How slots of a cadence ended, as its workflow said last, by namespace and cadence."""
    _from_before: dict[tuple[str, str], Mapping[SlotOutcome, int]] = field(default_factory=dict)
    """What the memo lacked when this process first heard of a cadence; no part of what is shown."""
    _ended: dict[Key, _Ended] = field(default_factory=dict)
    _durations: dict[tuple[str, ...], Durations] = field(default_factory=dict)
    """By namespace, cadence, target and status, and by target and status alone."""

    def known(self) -> dict[str, NamespaceMemo]:
        """Return every namespace that runs or should: what runs counts more."""
        return {**self.expected, **self.memos}

    def targets(self) -> set[str]:
        """Return the targets that namespaces anchor on."""
        memos = self.known().values()
        return {cadence.target for memo in memos for cadence in memo.cadences.values()}

    def forget_others(self) -> None:
        """Forget what is neither configured nor running."""
        known = self.known().keys()
        self.heard = {key: heard for key, heard in self.heard.items() if key[0] in known}
        self._from_before = {
            key: before for key, before in self._from_before.items() if key[0] in known
        }
        self._ended = {key: ended for key, ended in self._ended.items() if key[0] in known}
        self._durations = {
            place: each
            for place, each in self._durations.items()
            if len(place) == _BY_TARGET or place[0] in known
        }

    def ended(self, request: AnchorRequest, target: Target, *, succeeded: bool) -> None:
        """Count a try that ended."""
        key = (request.namespace, request.cadence, str(target))
        ended = self._ended.setdefault(key, _Ended())
        if succeeded:
            ended.succeeded += 1
        else:
            ended.failed += 1
        since = request.slot.lstrip("rf")
        if since.isdecimal():
            seconds = max(0.0, time.time() - int(since))
            status = SUCCESS if succeeded else FAILURE
            for place in ((*key, status), (str(target), status)):
                self._durations.setdefault(place, Durations(BUCKETS)).observe(seconds)

    def hear(self, namespace: str, cadence: str, outcomes: Mapping[SlotOutcome, int]) -> None:
        """Take how a cadence's slots ended so far, as its workflow says."""
        key, last = (namespace, cadence), self.heard.get((namespace, cadence))
        if last is None:
            self._from_before[key] = self._lacking(namespace, cadence, outcomes)
        elif sum(outcomes.values()) < sum(last.values()):
            self._from_before.pop(key, None)  # the workflow began anew
        self.heard[key] = outcomes

    def _lacking(
        self, namespace: str, cadence: str, outcomes: Mapping[SlotOutcome, int]
    ) -> Mapping[SlotOutcome, int]:
        """Return what the memo lacks of slots that change no memo; the newest one may be of this process's time."""
        memo = self.known().get(namespace)
        listed = memo.cadences.get(cadence) if memo is not None else None
        told_of = listed.outcomes if listed is not None else {}
        lacking = {
            outcome: count - told_of.get(outcome, 0)
            for outcome, count in outcomes.items()
            if outcome is not SlotOutcome.ANCHORED
        }
        return {outcome: count for outcome, count in lacking.items() if count > 1}

    def slots(self, namespace: str, cadence: str) -> Mapping[SlotOutcome, int]:
        """Return how a cadence's slots ended: what the memo or the workflow said, whichever counts more."""
        memo = self.known()[namespace].cadences[cadence].outcomes
        return self._slots(namespace, cadence, memo)

    def _slots(
        self, namespace: str, cadence: str, memo: Mapping[SlotOutcome, int]
    ) -> Mapping[SlotOutcome, int]:
        key = (namespace, cadence)
        heard, before = self.heard.get(key), self._from_before.get(key)
        known = memo if heard is None or sum(heard.values()) <= sum(memo.values()) else heard
        if not before:
            return known
        return {each: max(count - before.get(each, 0), 0) for each, count in known.items()}

    # --- the page --------------------------------------------------------------------------------------------------

    def page(self) -> bytes:
        """Return this part of the page. Takes some time where there are many; for a thread."""
        page, known = Page(self.prefix), dict(sorted(self.known().items()))
        cadences = {
            (name, label, cadence.target): cadence
            for name, memo in known.items()
            for label, cadence in memo.cadences.items()
        }
        self._write_tries(page, cadences)
        self._write_durations(page, cadences)
        self._write_slots(page, cadences)
        self._write_namespaces(page, known, are_many=len(cadences) > MANY_CADENCES)
        self._write_owed(page, cadences)
        return page.content()

    def _write_tries(self, page: Page, cadences: Mapping[Key, CadenceMemo]) -> None:
        """Write attempted as the sum of both others, read once: no scrape sees one without the other."""
        none, ended = _Ended(), dict(self._ended)
        tries = {
            key: (each.succeeded, each.failed)
            for key, each in ({**dict.fromkeys(cadences, none), **ended}).items()
        }
        columns = (
            ("attempted", "Tries of anchor requests that ended, with an anchor or a failure.", sum),
            ("succeeded", "Anchor requests answered with an included anchor.", _first),
            ("failed", "Failures reported to anchor requests; each try counts.", _second),
        )
        for name, text, value_of in columns:
            rows = {key: value_of(both) for key, both in tries.items()}
            page.family(f"anchors_{name}_total", "counter", text, CADENCE_LABELS, rows)

    def _write_durations(self, page: Page, cadences: Mapping[Key, CadenceMemo]) -> None:
        is_detailed = len(cadences) <= DETAILED_CADENCES
        places = cadences if is_detailed else dict.fromkeys((key[2],) for key in cadences)
        none = Durations(BUCKETS)
        rows = {(*place, status): none for place in places for status in (SUCCESS, FAILURE)}
        length = len(CADENCE_LABELS) + 1 if is_detailed else _BY_TARGET
        durations = dict(self._durations)
        rows |= {place: each for place, each in durations.items() if len(place) == length}
        page.histogram(
            "anchor_duration_seconds",
            "Time from an anchor's slot to its answer; with many cadences by target alone.",
            (*CADENCE_LABELS, "status")[-length:],
            rows,
        )

    def _write_slots(self, page: Page, cadences: Mapping[Key, CadenceMemo]) -> None:
        labels = ("namespace", "cadence")[: 2 if len(cadences) <= MANY_CADENCES else 1]
        slots: dict[tuple[str, ...], float] = {}
        last: dict[tuple[str, ...], float] = {}
        words = [(outcome, outcome.value) for outcome in SlotOutcome]
        for key, cadence in cadences.items():
            place = key[: len(labels)]
            outcomes = self._slots(key[0], key[1], cadence.outcomes)
            for outcome, word in words:
                series = (*place, word)
                slots[series] = slots.get(series, 0) + outcomes.get(outcome, 0)
            if cadence.last_anchor is not None and place == key[:2]:
                last[place] = cadence.last_anchor
        text = "Due slots by outcome; with many cadences by namespace."
        page.family("slots_total", "counter", text, (*labels, "outcome"), slots)
        text = "Unix time of a cadence's last successful anchor; left out with many cadences."
        page.family("last_anchor_timestamp_seconds", "gauge", text, labels, last)

    def _write_namespaces(
        self, page: Page, known: Mapping[str, NamespaceMemo], *, are_many: bool
    ) -> None:
        levels = {
            (name,): min(
                max((cadence.failures for cadence in memo.cadences.values()), default=0),
                HIGHEST_LEVEL,
            )
            for name, memo in known.items()
        }
        page.family(
            "backoff_state",
            "gauge",
            "Highest backoff level, 0 to 7, over the namespace's cadences.",
            ("namespace",),
            levels,
        )
        page.family(
            "paused_cadences",
            "gauge",
            "How many of the namespace's cadences an operator paused; where none is, there is no series.",
            ("namespace",),
            {(name,): len(memo.paused) for name, memo in known.items() if memo.paused},
        )
        page.family(
            "config_drift",
            "gauge",
            "1 where what runs differs from this worker's namespaces.yaml; stopped namespaces are left out.",
            ("namespace",),
            {
                (name,): int(drifts)
                for name, drifts in dict(self.drift).items()
                if drifts or not are_many
            },
        )

    def _write_owed(self, page: Page, cadences: Mapping[Key, CadenceMemo]) -> None:
        """Write what is owed; of what could not be counted there is no series."""
        owed: dict[tuple[str, ...], float] = {}
        oldest: dict[tuple[str, ...], float] = {}
        for key in cadences:
            counts = self.counts.get(key[0])
            batches = counts.unanchored.get(key[1]) if counts is not None else None
            if counts is not None and batches is not None:
                owed[key] = batches
                if key[1] in counts.oldest:
                    oldest[key] = counts.oldest[key[1]]
        page.family(
            "owed_batches",
            "gauge",
            "Batches without an anchor on the cadence's target, counted from files.",
            CADENCE_LABELS,
            owed,
        )
        page.family(
            "oldest_owed_timestamp_seconds",
            "gauge",
            "Unix time at which the oldest of a cadence's owed batches was sealed.",
            CADENCE_LABELS,
            oldest,
        )


def _first(both: tuple[int, int]) -> int:
    return both[0]


def _second(both: tuple[int, int]) -> int:
    return both[1]
