"""A recording shows what a command printed, screen by screen, and nothing else."""

import subprocess
import sys
from xml.etree import ElementTree

import pytest

from docs.recording import COLUMNS, MOST_PICTURES, Picture, pictures_of, svg_of, thinned
from tests.docs.readme import REPOSITORY

COUNTING = """
import time
for number in range(3):
    print(f"\\x1b[2J\\x1b[H\\x1b[1;32m{number} of 2\\x1b[0m <&>", end="", flush=True)
    time.sleep(0.6)
"""


def _text(picture: Picture) -> str:
    return " ".join(piece.text for line in picture for piece in line)


def test_each_screen_is_shown_with_its_colours() -> None:
    pictures = thinned(list(pictures_of([sys.executable, "-c", COUNTING], {})))
    assert [_text(picture) for picture in pictures] == [f"{number} of 2 <&>" for number in range(3)]
    first = pictures[-1][0][0]
    assert (first.colour, first.bold) == ("green", True)


def test_a_command_that_fails_is_no_recording() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        list(pictures_of([sys.executable, "-c", "print(1); raise SystemExit(3)"], {}))


def test_the_drawing_is_sound_and_shows_the_last_screen_where_nothing_moves() -> None:
    pictures = thinned(list(pictures_of([sys.executable, "-c", COUNTING], {})))
    drawing = svg_of(pictures, "counting <&>")
    root = ElementTree.fromstring(drawing)  # noqa: S314 - our own
    groups = root.findall("{http://www.w3.org/2000/svg}g")
    assert len(groups) == len(pictures)
    assert "prefers-reduced-motion: reduce) { .p { animation: none !important } .p2 " in drawing


def test_many_screens_are_thinned_and_keep_the_last() -> None:
    many = [((piece,),) for piece in pictures_of_numbers(500)]
    thin = thinned(many)
    assert len(thin) == MOST_PICTURES
    assert thin[-1] == many[-1]


def pictures_of_numbers(count: int) -> list[tuple[object, ...]]:
    return [(number,) for number in range(count)]


def test_the_demo_of_the_readme_is_a_recording_that_ends_well() -> None:
    drawing = (REPOSITORY / "docs" / "demo.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(drawing)  # noqa: S314 - our own
    (*_, last) = root.findall("{http://www.w3.org/2000/svg}g")
    lines = ["".join(text.itertext()) for text in last]
    assert any("every cadence has a final, verified anchor" in line for line in lines)
    assert max(len(line) for line in lines) <= COLUMNS
