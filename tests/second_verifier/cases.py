"""Makes up 10,000 proofs: sound ones, and ones that are changed; from a seed, so always the same.

Changes are in three groups: those that must not matter, those that must, and those of which only the rules tell.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from tests.second_verifier.changed_texts import (
    Changed,
    damaged_text,
    earlier_value_of_a_key,
    escaped_texts,
    every_letter_escaped,
    further_key,
    integer_as_something_else,
    key_left_out,
    key_written_otherwise,
    later_value_of_a_key,
    negative_zero,
    no_text,
    other_algorithm,
    other_hex,
    other_order,
    other_spaces,
    other_type,
    other_type_in_the_leaf,
    text_of,
    unchanged,
)
from tests.second_verifier.changed_values import (
    Proof,
    deepest_tree,
    flipped_bit,
    index_outside,
    level_left_out,
    longer_path,
    longer_text,
    lopsided_tree,
    moved_letter,
    no_tree,
    normalised,
    other_index,
    other_letter,
    other_size,
    shorter_path,
    swapped_hex,
    swapped_nodes,
    swapped_texts,
    too_deep_a_tree,
)
from tests.second_verifier.trees import Tree

SEED = 9162
LARGEST_TREE = 300
HARMLESS_CASES, HARMFUL_CASES, OPEN_CASES = 2_800, 6_400, 800
Mutation = Callable[[Random, Proof], Changed]


def several(rng: Random, proof: Proof) -> Proof:
    """Two or three changes of values at once."""
    for change in rng.sample(VALUES, rng.choice((2, 3))):
        changed = change(rng, proof)
        proof = proof if changed is None else changed
    return proof


HARMLESS: Sequence[Mutation] = (
    unchanged, unchanged, other_order, other_spaces, escaped_texts, every_letter_escaped, negative_zero,
    earlier_value_of_a_key, deepest_tree,
)  # fmt: skip
VALUES: Sequence[Callable[[Random, Proof], Proof | None]] = (
    flipped_bit, other_letter, longer_text, moved_letter, swapped_texts, swapped_hex, normalised, other_index,
    index_outside, no_tree, shorter_path, longer_path, swapped_nodes, level_left_out, other_size,
)  # fmt: skip
HARMFUL: Sequence[Mutation] = (
    *(one for one in VALUES if one is not other_size),
    other_algorithm, integer_as_something_else, other_hex, further_key, key_left_out, key_written_otherwise,
    other_type, other_type_in_the_leaf, later_value_of_a_key, damaged_text, no_text, too_deep_a_tree,
)  # fmt: skip
OPEN: Sequence[Mutation] = (other_size, lopsided_tree, several)


@dataclass(frozen=True)
class Case:
    """One proof as it is sent."""

    change: str
    """Name of what was done to it."""
    text: bytes
    sound: bool | None
    """What every verifier must say; None where only the rules tell."""


def cases() -> Iterator[Case]:
    """Make up all cases, no two of them alike."""
    rng = Random(SEED)
    trees = [Tree(rng, size) for size in range(1, LARGEST_TREE + 1)]
    seen: set[bytes] = set()
    groups = (
        (HARMLESS, HARMLESS_CASES, True),
        (HARMFUL, HARMFUL_CASES, False),
        (OPEN, OPEN_CASES, None),
    )
    for changes, count, sound in groups:
        for n in range(count):
            change = changes[n % len(changes)]
            text = _new_text(rng, trees, change, seen)
            seen.add(text)
            yield Case(change.__name__, text, sound)


def _new_text(rng: Random, trees: Sequence[Tree], change: Mutation, seen: set[bytes]) -> bytes:
    """Return a changed proof that has not been made up yet; outermost leaves are as likely as all others together."""
    while True:
        tree = rng.choice(trees)
        last = len(tree.leaves) - 1
        changed = change(rng, tree.proof(rng.choice((0, last, *(rng.randint(0, last),) * 2))))
        if changed is not None:
            text = changed if isinstance(changed, bytes) else text_of(changed)
            if text not in seen:
                return text
