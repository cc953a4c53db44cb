"""Histories tell by which code they were written: each change of it has another build id, wherever it lies."""

from pathlib import Path

from vaultmesh.process.version import VERSION, build_id


def tree(folder: Path, **files: str) -> Path:
    """Write a repository with these modules of workflows."""
    (folder / "workflows").mkdir(parents=True)
    for name, text in files.items():
        (folder / "workflows" / f"{name}.py").write_text(text)
    return folder


def test_the_same_code_has_the_same_build_id_wherever_it_lies(tmp_path: Path) -> None:
    one, other = (tree(tmp_path / name, a="x = 1", b="y = 2") for name in ("one", "other"))
    assert build_id(one) == build_id(other)
    assert build_id(one).startswith(f"{VERSION}+")


def test_a_change_of_a_line_or_of_a_name_is_another_build(tmp_path: Path) -> None:
    trees = [
        tree(tmp_path / "first", a="x = 1", b="y = 2"),
        tree(tmp_path / "line", a="x = 2", b="y = 2"),
        tree(tmp_path / "name", a="x = 1", c="y = 2"),
    ]
    assert len({build_id(place) for place in trees}) == len(trees)


def test_this_code_is_read(tmp_path: Path) -> None:
    assert build_id() != build_id(tree(tmp_path / "empty"))
