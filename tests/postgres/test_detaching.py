"""PostgreSQL detaches one partition of a table at a time; the others wait for their turn."""

from tests.postgres.shop import Shop, on_both
from vaultmesh.domain.maintenance.outcomes import Outcome

SALES = """
CREATE TABLE sales (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE sales_1 PARTITION OF sales FOR VALUES FROM ('2025-09-01') TO ('2025-10-01');
CREATE TABLE sales_2 PARTITION OF sales FOR VALUES FROM ('2025-10-01') TO ('2025-11-01');
CREATE TABLE sales_3 PARTITION OF sales FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO sales VALUES (1, '2025-09-02'), (2, '2025-10-02'), (3, '2026-03-01')
"""
TASK = {
    "kind": "retain", "table": "public.sales", "ageColumn": "at", "keep": "90d", "lockTimeout": "200ms",
    "archive": {"folder": "archive"},
}  # fmt: skip


@on_both
def test_partitions_that_wait_for_one_that_somebody_reads_are_locked_and_not_failed(
    shop: Shop,
) -> None:
    """The harm: a report that takes long has the task fail, and its alert call somebody."""
    shop.sql(SALES)
    with shop.holding("SELECT FROM sales LIMIT 1"):
        result = shop.run(**TASK)
    said = {step.subject: (step.outcome, step.detail) for step in result.steps}
    assert [outcome for outcome, _ in list(said.values())[:2]] == [Outcome.LOCKED] * 2
    assert said["public.sales_2"][1].startswith("public.sales_1 is being detached")
    assert 'ALTER TABLE "public"."sales" DETACH PARTITION "public"."sales_1" FINALIZE' in str(said)
    assert result.is_good
    assert shop.run(**TASK).outcome is Outcome.DONE
    assert shop.sql("SELECT id FROM sales") == "3"
    assert len(list((shop.root / "archive").glob("2*.csv.gz"))) == 2
