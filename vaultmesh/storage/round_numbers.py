"""Finds rounds that are gone: those that this process knew as signed, and numbers that no folder has.

1. Signed rounds of a target are numbered from 1 on, in the order in which they were signed; a lost round that is signed again
   keeps its number. A number that no round has, up to the highest that anybody knows, is a round whose folder is gone.
2. Rounds that were signed before they were numbered have 0, and say nothing about others.
3. What an operator gave up is not missed any more. What is back is not gone.
"""

import threading
import time
from dataclasses import dataclass, field

Range = tuple[int, int]
"""First and last number."""


def in_words(numbers: Range) -> str:
    """Return a range as it is told."""
    first, last = numbers
    return f"{first}" if first == last else f"{first} to {last}"


@dataclass(slots=True)
class RoundNumbers:
    """The numbers of one target's signed rounds; used by any thread."""

    _by_round: dict[str, int] = field(default_factory=dict)
    _given_up: dict[str, Range] = field(default_factory=dict)
    """Ranges that operators gave up, by the folder that says so."""
    _gone: dict[str, float] = field(default_factory=dict)
    """Rounds that this process knew as signed and that are gone, and when that was noticed, in Unix seconds."""
    _present: set[int] = field(default_factory=set)
    """Every number that a round has or had."""
    _highest: int = 0
    _missed: dict[int, float] = field(default_factory=dict)
    """When it was noticed that the numbers up to one are gone, in Unix seconds."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def signed(self, round_id: str, number: int) -> None:
        """Take that a round is there; 0: nobody counted it."""
        with self._lock:
            self._gone.pop(round_id, None)
            if number:
                self._by_round[round_id] = number
                self._present.add(number)
                self.expect(number)

    def lose(self, round_id: str) -> None:
        """Take that a round is gone that was there."""
        with self._lock:
            self._gone.setdefault(round_id, time.time())

    def give_up(self, round_id: str, numbers: Range | None) -> None:
        """Take that an operator gave up a round that is gone, or all rounds of some numbers."""
        with self._lock:
            self._gone.pop(round_id, None)
            if numbers is not None:
                self._given_up[round_id] = numbers
                self.expect(numbers[1])

    def expect(self, number: int) -> None:
        """Take that rounds were signed up to a number, as somebody knows."""
        with self._lock:
            self._highest = max(self._highest, number)

    @property
    def highest(self) -> int:
        """Return the highest number that is known."""
        return self._highest

    def number_of(self, round_id: str) -> int:
        """Return a round's number, also of one that is gone; 0: nobody counted it."""
        with self._lock:
            return self._by_round.get(round_id, 0)

    def range_of(self, round_id: str) -> Range | None:
        """Return a round's number as a range; None where nobody counted it."""
        number = self.number_of(round_id)
        return (number, number) if number else None

    def round_with(self, number: int) -> str | None:
        """Return the round that has a number and is there."""
        with self._lock:
            named = (round_id for round_id, of in self._by_round.items() if of == number)
            return next((round_id for round_id in named if round_id not in self._gone), None)

    def gone(self) -> dict[str, float]:
        """Return the rounds that this process knew, and that are gone, with the Unix seconds at which that was noticed."""
        with self._lock:
            return {named: since for named, since in self._gone.items() if self.is_gone(named)}

    def is_gone(self, round_id: str) -> bool:
        """Say whether this process knew a round that is gone."""
        with self._lock:
            return round_id in self._gone and not self.is_given_up(round_id)

    def is_given_up(self, round_id: str) -> bool:
        """Say whether an operator gave up a round by its number, perhaps where nobody knew its name."""
        number = self.number_of(round_id)
        with self._lock:
            return any(first <= number <= last for first, last in self._given_up.values())

    def gaps(self) -> list[Range]:
        """Return the numbers that no round has, as ranges; those of rounds that are gone by name are left out."""
        with self._lock:
            highest = self._highest
            if len(self._present) == highest:
                return []
            single = ((number, number) for number in self._present)
            taken = sorted([*self._given_up.values(), *single])
        gaps, following = [], 1
        for first, last in (*taken, (highest + 1, highest + 1)):
            if first > following:
                gaps.append((following, first - 1))
            following = max(following, last + 1)
        return gaps

    def noticed(self, gap: Range) -> float:
        """Return when a gap was noticed first, in Unix seconds."""
        with self._lock:
            return self._missed.setdefault(gap[1], time.time())
