"""Makes of the alerts in `ops/prometheus/alerts` what a site loads: an object of a cluster, or a file with its own prefix, times and runbooks.

`python -m docs.alert_rules --prefix vmsh --runbooks https://wiki.example.org/scheduler/ ops/prometheus/alerts/scheduler.yaml` prints the
file as a site with `METRICS_PREFIX=vmsh` loads it. `--times 0.5` halves how long each cause must last before its alert fires. Expressions
are never changed but for the prefix.
"""

import argparse
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
JOB_RULES = DOCS.with_name("ops") / "prometheus" / "alerts" / "jobs.yaml"
"""Alerts about HTTP jobs as Prometheus reads them: the source, like the two below."""
MAINTENANCE_RULES = JOB_RULES.with_name("maintenance.yaml")
ANCHOR_RULES = JOB_RULES.with_name("scheduler.yaml")
DEFAULT_PREFIX = "scheduler"
_CLUSTER_FOLDER = DOCS.with_name("k8s") / "alerts"
_OBJECTS = {
    "jobs": ("scheduler-jobs", "aurora-staging"),
    "maintenance": ("scheduler-maintenance", "battlescope"),
    "scheduler": ("scheduler", "aurora-staging"),
}
"""Name and Kubernetes namespace of each file's object."""
_HEAD = """\
# Made of ops/prometheus/alerts/{file}.yaml by `python -m docs.tables`. kubectl apply -n {namespace} -f k8s/alerts/{file}.yaml, where the Prometheus Operator runs;
# give it the labels that its Prometheus selects rules by.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {name}
  labels: {{ app: scheduler, component: layer-2, service: scheduler }}
spec:
"""
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def cluster_place(rules: Path) -> Path:
    """Return where a file's object for the Prometheus Operator lies."""
    return _CLUSTER_FOLDER / rules.name


def cluster_rules(rules: Path) -> str:
    """Return a file's alerts as an object of a cluster: the same text, one level deeper."""
    lines = rules.read_text(encoding="utf-8").splitlines(keepends=True)
    indented = (f"  {line}" if line.strip() else line for line in lines[lines.index("groups:\n") :])
    name, namespace = _OBJECTS[rules.stem]
    return _HEAD.format(file=rules.stem, name=name, namespace=namespace) + "".join(indented)


def adapted(
    text: str, *, prefix: str = DEFAULT_PREFIX, runbooks: str = "", times: float = 1
) -> str:
    """Return rules for a site.

    Args:
        text: a file of rules.
        prefix: the site's `METRICS_PREFIX`.
        runbooks: address that is put before the path of each runbook.
        times: factor for each `for`; the group's interval is as it was.
    """
    text = re.sub(r"\bscheduler(?=_[a-z])", prefix, text)
    text = re.sub(r"(runbook_url: )(?=docs/)", rf"\g<1>{runbooks}", text)
    if times == 1:
        return text
    return re.sub(
        r"^( +for: )(\d+)([smhd])$",
        lambda match: f"{match[1]}{_scaled(int(match[2]) * _SECONDS[match[3]], times)}",
        text,
        flags=re.MULTILINE,
    )


def _scaled(seconds: int, times: float) -> str:
    milliseconds = round(seconds * times * 1_000)
    return f"{milliseconds // 1_000}s" if milliseconds % 1_000 == 0 else f"{milliseconds}ms"


def main(arguments: list[str] | None = None) -> int:
    """Print a file of rules as a site loads it."""
    parser = argparse.ArgumentParser(prog="python -m docs.alert_rules", description=main.__doc__)
    parser.add_argument("file", type=Path, help="one of ops/prometheus/alerts/*.yaml")
    parser.add_argument("--prefix", default=DEFAULT_PREFIX, help="METRICS_PREFIX of the workers")
    parser.add_argument("--runbooks", default="", metavar="URL", help="put before runbook_url")
    parser.add_argument("--times", type=float, default=1, help="factor for each `for`")
    parsed = parser.parse_args(arguments)
    text = parsed.file.read_text(encoding="utf-8")
    sys.stdout.write(
        adapted(text, prefix=parsed.prefix, runbooks=parsed.runbooks, times=parsed.times)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
