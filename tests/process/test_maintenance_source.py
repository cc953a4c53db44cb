"""maintenance.yaml as a worker keeps it: a bad file changes nothing, and a file that nobody chose rules nobody."""

from pathlib import Path

from vaultmesh.domain.paths import CONFIG_FOLDER, MAINTENANCE_FILE
from vaultmesh.process.maintenance_source import MaintenanceSource, schedules_of
from vaultmesh.process.settings import REPOSITORY, Settings

URL = "postgresql://u:hush-hush-9@db:5432/shop"
TASK = "{kind: vacuum, tables: all, cron: '0 3 * * *', deadline: 1500ms}"


def source(root: Path, **environment: str) -> MaintenanceSource:
    variables = {"VMSH_ROOT": str(root), **environment}
    return MaintenanceSource(Settings.from_environment(variables), variables)


def written(root: Path, tasks: str) -> Path:
    place = root / CONFIG_FOLDER / MAINTENANCE_FILE
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"database: {URL}\ntasks:\n  {tasks}\n")
    return place


def names(from_file: MaintenanceSource) -> list[str]:
    config = from_file.look()
    return [] if config is None else [named.name for named in config.tasks]


def test_without_a_file_and_a_database_there_is_nothing_to_do_and_nothing_wrong(
    tmp_path: Path,
) -> None:
    nothing = source(tmp_path)
    assert (names(nothing), nothing.refused) == ([], "")


def test_the_file_that_we_ship_stands_in_where_a_database_is_named(tmp_path: Path) -> None:
    shipped = source(tmp_path, DATABASE_URL=URL)
    assert (names(shipped), shipped.refused, shipped.is_stand_in) == (["statistics"], "", True)
    written(tmp_path, f"tidy: {TASK}")
    assert (names(shipped), shipped.is_stand_in) == (["tidy"], False)
    at_home = source(REPOSITORY, DATABASE_URL=URL)
    assert not at_home.is_stand_in


def test_a_bad_file_leaves_what_it_said_before_and_a_mended_one_is_read(tmp_path: Path) -> None:
    place = written(tmp_path, f"tidy: {TASK}")
    own = source(tmp_path)
    assert names(own) == ["tidy"]
    written(tmp_path, "tidy: {kind: vacum}")
    assert names(own) == ["tidy"]
    assert "is no kind of task" in own.refused
    assert "hush-hush-9" not in own.refused
    place.unlink()
    assert names(own) == ["tidy"]
    assert "cannot be read" in own.refused
    written(tmp_path, f"other: {TASK}")
    assert (names(own), own.refused) == (["other"], "")


def test_a_file_that_a_variable_names_and_that_is_not_there_is_refused(tmp_path: Path) -> None:
    missing = source(tmp_path, VMSH_MAINTENANCE=str(tmp_path / "gone.yaml"))
    assert names(missing) == []
    assert "gone.yaml" in missing.refused


def test_what_is_told_of_a_task_holds_nothing_secret_and_changes_with_its_entry(
    tmp_path: Path,
) -> None:
    versions = set()
    check = "{kind: check, query: select 1 as hush, failAbove: 1}"
    for task in (TASK, TASK.replace("1500ms", "2s"), check):
        written(tmp_path, f"tidy: {task}")
        config = source(tmp_path).look()
        assert config is not None
        schedule = schedules_of(config)["tidy"]
        assert "hush" not in schedule.model_dump_json()
        versions.add(schedule.version)
        if task == TASK:
            assert (schedule.timeout_seconds, schedule.catch_up_seconds) == (2, 60)
    assert len(versions) == 3
