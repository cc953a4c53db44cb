"""What every target's settings owe their operator: strictness, all problems at once, and discretion."""

from importlib import import_module

import pytest

from tests.ledgers.conformance.bench import BENCHES, Bench
from vaultmesh.domain.failures import ValidationFailure
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.domain.target import Target
from vaultmesh.domain.targets_config import CommonSettings

LEAK = "leak-4711"


def test_every_scheme_of_the_registry_is_on_trial() -> None:
    assert set(BENCHES) == set(SCHEMES)


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_the_module_offers_strict_settings(scheme: str) -> None:
    settings = import_module(SCHEMES[scheme].driver).Settings
    assert issubclass(settings, CommonSettings)
    config = settings.model_config
    kept = (config["extra"], config["strict"], config["frozen"], config["hide_input_in_errors"])
    assert kept == ("forbid", True, True, True)


def test_all_problems_are_told_at_once_and_none_shows_a_value(bench: Bench) -> None:
    section = bench.section()
    wrong = {
        **bench.WRONG,
        "maxLeaves": LEAK,
        "aggregation": LEAK,
        "window": LEAK,
        "unheardOf": LEAK,
    }
    with pytest.raises(ValidationFailure) as failure:
        bench.open(section | wrong)
    told = str(failure.value)
    assert [key for key in wrong if key not in told] == []
    assert [secret for secret in [LEAK, *bench.secrets_of(section)] if secret in told] == []


def test_each_wrong_key_alone_is_refused_by_name(bench: Bench) -> None:
    section = bench.section()
    for key, value in {**bench.WRONG, "unheardOf": LEAK}.items():
        with pytest.raises(ValidationFailure, match=key):
            bench.open(section | {key: value})


def test_a_secret_at_a_wrong_place_is_not_told(bench: Bench) -> None:
    section = bench.section()
    for key in section:
        for hidden in bench.secrets_of(section):
            with pytest.raises(ValidationFailure) as failure:
                bench.open({**section, key: {"x": hidden}})
            assert hidden not in str(failure.value)


def test_a_target_that_the_settings_do_not_describe_is_refused(bench: Bench) -> None:
    section = bench.section()
    for reference, changes in bench.STRANGERS.items():
        stranger = Target(bench.SCHEME, reference)
        # `default` describes any chain or network; a name of ours needs a section of its own
        place = "default" if bench.ADVANCES else bench.TARGET.reference
        document = {bench.SCHEME: {place: section | dict(changes)}}
        with pytest.raises(ValidationFailure, match=reference if bench.ADVANCES else "add it"):
            bench.open_document(document, stranger)
    unknown = Target("unheard", "of")
    with pytest.raises(ValidationFailure, match="unknown scheme"):
        bench.open_document({bench.SCHEME: {"default": section}}, unknown)


async def test_what_the_aggregator_reads_of_a_target_makes_sense(bench: Bench) -> None:
    target = bench.open(bench.section() | {"maxLeaves": 7, "window": "1s", "aggregation": "always"})
    submitter = target.aggregator_settings
    assert (submitter.max_leaves, submitter.window_seconds, target.aggregation) == (
        7,
        1.0,
        "always",
    )
    assert (target.confirmations, 0 < target.poll_seconds <= 60) == (bench.DEPTH, True)
    await target.close()
