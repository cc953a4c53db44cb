"""Takes the README and the pages that it leads to apart: their commands, examples, paths."""

import re
import shlex
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
PAGES = (
    README,
    *(
        REPOSITORY / "docs" / f"{name}.md"
        for name in ("commands", "configuration", "verifying", "failures", "code", "parts")
    ),
)
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def blocks(language: str, text: str = TEXT) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(program: str, text: str = TEXT) -> list[list[str]]:
    """Return the arguments of every command line that begins with a program."""
    lines = [
        line
        for block in blocks("sh", text)
        for line in block.splitlines()
        if line.startswith(program)
    ]
    return [shlex.split(line.removeprefix(program), comments=True) for line in lines]


def typed(program: str) -> list[list[str]]:
    """Return the arguments of every command that is shown together with what it prints."""
    prompt = f"$ {program}"
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [shlex.split(line.removeprefix(prompt)) for line in lines if line.startswith(prompt)]


def rows(head: str) -> list[list[str]]:
    """Return the cells of the table whose head line begins so."""
    lines = TEXT[TEXT.index(f"\n{head}") + 1 :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
