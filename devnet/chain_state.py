"""Lets a local chain's blocks outlive its node.

1. anvil writes its whole state each second, over the last one: killed while it writes, it leaves half a file.
2. So it writes through a link, and after a write the link is turned to the other one of two files: at any time at most
   one of them is half written.
3. A start loads the newer file that is whole, and lets the first write go to the other one.
4. anvil keeps the block 0 that each start makes beside the one it loads, and takes either at the next start; so all but
   the first are taken out before that.
"""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from devnet.errors import PartError

INTERVAL_SECONDS = 1


class _Saved(BaseModel):
    """What is read of a state file; validated whole."""

    model_config = ConfigDict(frozen=True)

    best_block_number: int = Field(ge=0)


class ChainState:
    """The state file of a chain, and the one beside it."""

    def __init__(self, file: Path) -> None:
        """Use `file`, `.file.other` and two links in its folder, which need not exist."""
        self.file = file
        self.files = (file, file.with_name(f".{file.name}.other"))
        self._link = file.with_name(f".{file.name}.next")

    def exists(self) -> bool:
        """Whether a chain was kept here."""
        return any(file.exists() for file in self.files)

    def height(self) -> int | None:
        """Return the newest block that would survive a kill at this moment."""
        whole = self._newest()
        return None if whole is None else whole[1]

    def options(self) -> list[str]:
        """Return the options for the next start, and make the files ready for it.

        Raises:
            PartError: a chain was kept here, but neither file is whole.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        whole = self._newest()
        if whole is None and self.exists():
            message = (
                f"the state of the chain in {self.file} is not whole; begin anew in another folder"
            )
            raise PartError(message)
        self._point(self.file if whole is None else self._other(whole[0].name))
        saving = ["--dump-state", str(self._link), "--state-interval", str(INTERVAL_SECONDS)]
        if whole is None:
            return saving
        _keep_first_genesis(whole[0])
        return ["--load-state", str(whole[0]), *saving]

    def turn(self) -> None:
        """Let the next write go to the other file, if there was one to this: the other is the only whole one else."""
        target = self.file.with_name(self._link.readlink().name)
        if self._by_age()[:1] == [target]:
            self._point(self._other(target.name))

    def _newest(self) -> tuple[Path, int] | None:
        """Return the newer file that is whole, and its height."""
        for path in self._by_age():
            try:
                return path, _Saved.model_validate_json(path.read_bytes()).best_block_number
            except ValidationError:
                continue
        return None

    def _by_age(self) -> list[Path]:
        """Return the files that exist, the newer one first."""
        existing = [one for one in self.files if one.exists()]
        return sorted(existing, key=lambda one: one.stat().st_mtime_ns, reverse=True)

    def _other(self, name: str) -> Path:
        first, second = self.files
        return second if name == first.name else first

    def _point(self, file: Path) -> None:
        fresh = self._link.with_name(f"{self._link.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(file.name)
        fresh.replace(self._link)


def _keep_first_genesis(file: Path) -> None:
    """Take out every block 0 but the oldest one: the chain is known to its users by that one's hash."""
    state = json.loads(file.read_bytes())
    blocks = state.get("blocks") or []
    starts = [one for one in blocks if int(one["header"]["number"], 16) == 0]
    if len(starts) < 2:  # noqa: PLR2004 - one is as it should be
        return
    first = min(starts, key=lambda one: int(one["header"]["timestamp"], 16))
    state["blocks"] = [first, *(one for one in blocks if one not in starts)]
    fresh = file.with_name(f".{file.name}.cleaned")
    fresh.write_text(json.dumps(state), encoding="utf-8")
    fresh.replace(file)
