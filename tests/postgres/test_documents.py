"""What the page on maintenance shows is read and runs as shown."""

import yaml

from tests.docs.readme import REPOSITORY, blocks, commands
from tests.postgres.shop import NOON, Shop
from vaultmesh.domain.maintenance.config import Kind, parse_maintenance

PAGE = (REPOSITORY / "docs" / "maintenance.md").read_text(encoding="utf-8")
SHOWN = "archive/orders/20260101T000000Z-1234.csv.gz"
TABLES = """
CREATE SCHEMA archive; CREATE TABLE orders (id int, at timestamptz); CREATE TABLE archive.orders (LIKE orders);
INSERT INTO orders VALUES (1, '2025-01-01')
"""


def test_the_file_that_is_shown_has_every_kind_and_can_be_read() -> None:
    document = yaml.safe_load(blocks("yaml", PAGE)[0])
    document["database"] = "postgresql://u@h/d"
    for name, value in document["tasks"].items():
        for key, number in value.items():
            if isinstance(number, float):  # our own reader leaves fractions as texts
                document["tasks"][name][key] = str(number)
    assert {named.task.kind for named in parse_maintenance(document).tasks} == set(Kind)


def test_every_key_and_outcome_is_on_the_page() -> None:
    from vaultmesh.domain.maintenance.config import MODELS
    from vaultmesh.domain.maintenance.outcomes import Outcome

    for model in MODELS.values():
        for name, field in model.model_fields.items():
            if name != "kind":
                assert f"`{field.alias}`" in PAGE or f"{field.alias}:" in PAGE, (model, name)
    for outcome in Outcome:
        assert f"`{outcome.value}`" in PAGE


def test_every_command_that_is_shown_runs(shop: Shop) -> None:
    shop.sql(TABLES)
    archive = {"folder": "archive/orders"}
    retain = {"kind": "retain", "table": "orders", "ageColumn": "at", "keep": "90d"}
    assert shop.run(now=NOON, archive=archive, **retain).is_good
    [data] = (shop.root / "archive" / "orders").glob("*.csv.gz")
    shown = commands("", PAGE)
    assert len(shown) >= 5
    for words in shown:
        assert words[:3] == ["python", "starter.py", "maintenance"]
        arguments = [str(data) if word == SHOWN else word for word in words[3:]]
        ran = shop.command(*arguments)
        assert ran.code == 0, (words, ran)
        assert ran.out
