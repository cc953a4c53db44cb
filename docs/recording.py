"""Records a command in a terminal of 80 columns as an animated SVG; the README shows one of the demo.

`python -m docs.recording` runs the demo once and writes docs/demo.svg. Nothing in it is drawn by hand: a terminal
emulator (pyte) reads what the command printed, and every picture is a screen that it showed.
"""

import argparse
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import pyte

REPOSITORY = Path(__file__).resolve().parents[1]
COLUMNS, LINES = 80, 40
LOOK_SECONDS = 0.25
"""How often the screen is looked at."""
MOST_PICTURES = 24
SHOWN_SECONDS, LAST_SECONDS = 0.8, 8.0
"""How long the recording shows a picture, and the last one."""
WIDTH, HEIGHT, MARGIN = 8.0, 18.0, 14.0
"""Of a character, and around the screen; pixels."""
COLOURS = {
    "default": "ink",
    "red": "red",
    "green": "green",
    "brown": "yellow",
    "blue": "blue",
    "cyan": "blue",
    "magenta": "blue",
    "black": "soft",
    "brightblack": "soft",
}
BOLD = ' class="bold"'
STYLE = """
:root { --page: #fbfbfa; --ink: #24292f; --soft: #66707a; --red: #b3261e; --green: #18703a; --yellow: #855b00; --blue: #1f5fa8 }
@media (prefers-color-scheme: dark) {
  :root { --page: #14181d; --ink: #dfe4e9; --soft: #98a3ad; --red: #ff8a80; --green: #7fd6a0; --yellow: #e6c265; --blue: #8fbdf5 }
}
text { font: 13px ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace; white-space: pre }
.bold { font-weight: 600 } .dim { opacity: .7 }
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters of one line that look the same."""

    column: int
    text: str
    colour: str
    bold: bool


Picture = tuple[tuple[Piece, ...], ...]
"""What the screen showed: the pieces of each line."""


def pictures_of(command: Sequence[str], environment: dict[str, str]) -> Iterator[Picture]:
    """Run a command in a terminal; yield every screen that it showed, as often as one is looked at.

    Raises:
        CalledProcessError: the command ends with another exit code than 0.
    """
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    with subprocess.Popen(  # noqa: S603 - the caller's own command
        command, cwd=REPOSITORY, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        while data := _read(ours):
            stream.feed(data)
            yield _picture(screen)
        code = process.wait()
    os.close(ours)
    if code != 0:
        raise subprocess.CalledProcessError(code, command)


def _read(terminal: int) -> bytes:
    """Return what was printed within one look; nothing once the command has ended."""
    data = b""
    until = time.monotonic() + LOOK_SECONDS
    while not data or time.monotonic() < until:
        ready, _, _ = select.select([terminal], [], [], LOOK_SECONDS)
        if ready:
            try:
                more = os.read(terminal, 65536)
            except OSError:  # Linux reports the end of a terminal so
                return data
            if not more:
                return data
            data += more
    return data


def _picture(screen: pyte.Screen) -> Picture:
    return tuple(tuple(_pieces(screen, line)) for line in range(screen.lines))


def _pieces(screen: pyte.Screen, line: int) -> Iterator[Piece]:
    column = 0
    cells = [screen.buffer[line][at] for at in range(screen.columns)]
    while column < len(cells):
        first = cells[column]
        end = column
        while end < len(cells) and (cells[end].fg, cells[end].bold) == (first.fg, first.bold):
            end += 1
        text = "".join(cell.data for cell in cells[column:end])
        if text.strip():
            lead = len(text) - len(text.lstrip())
            yield Piece(column + lead, text.strip(), COLOURS.get(first.fg, "ink"), first.bold)
        column = end


def thinned(pictures: Sequence[Picture]) -> list[Picture]:
    """Return the pictures that differ from the one before, evenly chosen if they are too many; always the last."""
    different = [
        picture
        for index, picture in enumerate(pictures)
        if any(picture) and (index == 0 or picture != pictures[index - 1])
    ]
    if len(different) <= MOST_PICTURES:
        return different
    step = (len(different) - 1) / (MOST_PICTURES - 1)
    return [different[round(index * step)] for index in range(MOST_PICTURES)]


def svg_of(pictures: Sequence[Picture], title: str) -> str:
    """Return an SVG that shows the pictures one after the other; where motion is unwanted, the last alone."""
    used = max(index for picture in pictures for index, line in enumerate(picture) if line) + 1
    width, height = COLUMNS * WIDTH + 2 * MARGIN, used * HEIGHT + 2 * MARGIN
    total = SHOWN_SECONDS * (len(pictures) - 1) + LAST_SECONDS
    frames = "\n".join(_frame(picture, index) for index, picture in enumerate(pictures))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" aria-label="{escape(title)}">\n'
        f"<style>{STYLE}{_timing(len(pictures), total)}</style>\n"
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="var(--page)" stroke="var(--soft)" stroke-opacity=".4"/>\n'
        f"{frames}\n</svg>\n"
    )


def _timing(count: int, total: float) -> str:
    """Return the rules by which each picture has its turn."""
    rules = [
        f".p {{ visibility: hidden; animation: {total:g}s step-end infinite }}",
        f"@media (prefers-reduced-motion: reduce) {{ .p {{ animation: none !important }} .p{count - 1} {{ visibility: visible }} }}",
    ]
    for index in range(count):
        begin = 100 * SHOWN_SECONDS * index / total
        end = 100 * SHOWN_SECONDS * (index + 1) / total if index < count - 1 else 100
        hidden = "" if index == 0 else "0% { visibility: hidden } "
        rules += [
            f".p{index} {{ animation-name: p{index} }}",
            f"@keyframes p{index} {{ {hidden}{begin:.2f}% {{ visibility: visible }} {end:.2f}% {{ visibility: {'visible' if index == count - 1 else 'hidden'} }} }}",
        ]
    return "\n".join(rules)


def _frame(picture: Picture, index: int) -> str:
    lines = [
        f'<text x="{MARGIN + piece.column * WIDTH:g}" y="{MARGIN + (line + 0.75) * HEIGHT:g}" '
        f'textLength="{len(piece.text) * WIDTH:g}" fill="var(--{piece.colour})"'
        f"{BOLD if piece.bold else ''}>{escape(piece.text)}</text>"
        for line, pieces in enumerate(picture)
        for piece in pieces
    ]
    return f'<g class="p p{index}">\n' + "\n".join(lines) + "\n</g>"


def main(arguments: list[str] | None = None) -> int:
    """Record the demo, or any command, into an SVG."""
    parser = argparse.ArgumentParser(prog="python -m docs.recording", description=main.__doc__)
    parser.add_argument("-o", "--output", type=Path, default=REPOSITORY / "docs" / "demo.svg")
    parser.add_argument("command", nargs="*", help="of starter.py; by default: demo --once")
    wanted = parser.parse_args(arguments)
    command = [sys.executable, "starter.py", *(wanted.command or ["demo", "--once"])]
    shell = dict(os.environ)  # noqa: TID251 - of whoever records
    environment = {**shell, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    pictures = thinned(list(pictures_of(command, environment)))
    title = f"python {' '.join(command[1:])}, recorded in a terminal of {COLUMNS} columns"
    wanted.output.write_text(svg_of(pictures, title), encoding="utf-8")
    sys.stdout.write(f"{wanted.output}: {len(pictures)} pictures\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
