"""What the roles `jobs` and `api` are told about the store: read whole, refused with the variable's name."""

from datetime import timedelta

import pytest

from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.process import logs
from vaultmesh.process.job_settings import JobSettings


def test_nothing_set_is_a_file_that_we_made_and_a_year_of_runs() -> None:
    settings = JobSettings.from_environment({"JOBS_DATABASE_URL": "", "JOBS_KEEP_DAYS": ""})
    assert (settings.database_url, settings.is_supabase) == (None, False)
    assert settings.drain == timedelta(seconds=310)
    assert settings.keep(made_by_us=True) == timedelta(days=400)
    assert settings.keep(made_by_us=False) is None


def test_what_is_set_counts_also_for_a_database_of_others() -> None:
    settings = JobSettings.from_environment(
        {"JOBS_KEEP_DAYS": "30", "SUPABASE_URL": "https://a.example"}
    )
    assert settings.is_supabase
    assert settings.keep(made_by_us=False) == timedelta(days=30)
    keeps_all = JobSettings.from_environment({"JOBS_KEEP_DAYS": "0"})
    assert keeps_all.keep(made_by_us=True) is None


@pytest.mark.parametrize("name", ["JOBS_KEEP_DAYS", "JOBS_DRAIN"])
@pytest.mark.parametrize("value", ["-1", "1.5", " 5", "many", "999999999999"])
def test_a_bad_number_is_refused_with_its_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        JobSettings.from_environment({name: value})


def test_what_the_scheduler_before_us_needed_is_taken_and_said_to_be_superfluous() -> None:
    assert JobSettings.from_environment({"NODE_ENV": ""}).warnings == ()
    key = "a-service-key-of-these-tests"
    settings = JobSettings.from_environment({"NODE_ENV": "production", "SUPABASE_SERVICE_KEY": key})
    assert settings.warnings == (
        "NODE_ENV is no longer needed: it changes nothing here - remove it",
        "SUPABASE_SERVICE_KEY is no longer needed: the store of jobs is reached by JOBS_DATABASE_URL - remove it",
    )
    assert key not in logs.without_secrets(f"it is {key}")
