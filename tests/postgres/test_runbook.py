"""The SQL of the page that people read in an emergency runs, and its answers name the culprit."""

import re

from tests.docs.readme import REPOSITORY, blocks
from tests.postgres.shop import DATABASE, Shop

PAGE = (REPOSITORY / "docs" / "maintenance-alerts.md").read_text(encoding="utf-8")
FENCED = blocks("sql", PAGE)
INLINE = [
    statement
    for statement in re.findall(r"`(SELECT [^`]+)`", PAGE)
    if "terminate" not in statement and "drop" not in statement
]
"""Questions in the text; what ends or drops something is not asked here."""


def test_every_question_of_the_page_is_answered(shop: Shop) -> None:
    shop.sql("CREATE TABLE goods AS SELECT 1 AS n")
    assert len(FENCED) == 2
    assert len(INLINE) == 2
    for statement in (*FENCED, *INLINE):
        shop.server.sql(DATABASE, statement)


def test_the_first_line_is_the_culprit(shop: Shop) -> None:
    shop.sql("CREATE TABLE goods AS SELECT 1 AS n")
    with shop.holding("INSERT INTO goods VALUES (2)"):
        for _ in range(5):
            shop.sql("INSERT INTO goods VALUES (3)")
        first = shop.server.sql(DATABASE, FENCED[1]).splitlines()[0]
    assert first.startswith("transaction|")
    assert "somebody" in first


def test_the_oldest_tables_are_named_with_their_age(shop: Shop) -> None:
    shop.sql("CREATE TABLE goods AS SELECT 1 AS n")
    lines = shop.server.sql(DATABASE, FENCED[0]).splitlines()
    assert len(lines) == 10
    ages = [int(line.split("|")[1]) for line in lines]
    assert ages == sorted(ages, reverse=True)
