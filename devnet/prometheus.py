"""Runs a local Prometheus and Alertmanager out of Debian's packages, which are not installed: rules are evaluated each second."""

import json
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from devnet.ports import LOOPBACK, free_port, require_free
from devnet.process import Part
from devnet.promtool import PROMTOOL_VERSION, program_of
from devnet.supply import Supply

_INSTALLED_ASSETS = b"/usr/share/prometheus/alertmanager"
"""Where Debian's Alertmanager looks for its template, whatever it is told."""
_ASSETS = "assets"


def _fetch_alertmanager(folder: Path) -> None:
    """Take the program and its template, which is looked for where it would be installed: let it look where it runs."""
    program = folder / ALERTMANAGER.product
    program_of("prometheus-alertmanager", ALERTMANAGER.product, keep=_INSTALLED_ASSETS.decode())(
        folder
    )
    (folder / Path(_INSTALLED_ASSETS.decode()).name).rename(folder / _ASSETS)
    here = b"./" + _ASSETS.encode().rjust(len(_INSTALLED_ASSETS) - len(b"./"), b"/")
    program.write_bytes(program.read_bytes().replace(_INSTALLED_ASSETS, here))


PROMETHEUS = Supply(
    name="prometheus",
    version=PROMTOOL_VERSION,
    variable="PROMETHEUS",
    product="prometheus",
    fetch=program_of("prometheus", "prometheus"),
    takes="10 seconds",
    needs="apt-get",
)
ALERTMANAGER = Supply(
    name="prometheus-alertmanager",
    version=PROMTOOL_VERSION,
    variable="ALERTMANAGER",
    product="prometheus-alertmanager",
    fetch=_fetch_alertmanager,
    takes="10 seconds",
    needs="apt-get",
)
EVERY = "1s"
"""Between scrapes, and between evaluations of groups that name no interval."""
_LOOK_SECONDS = 5.0


class _Monitor(Part):
    """What both have in common: HTTP on the loopback address, and a page that says when they are ready."""

    def __init__(self, name: str, program: Path, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            str(program),
            f"--config.file={folder / name}.yml",
            f"--web.listen-address={LOOPBACK}:{self.port}",
            "--log.level=warn",
            *options,
        ]
        super().__init__(name, command, folder / "logs" / f"{name}.log", self._is_ready)

    @override
    def launch(self) -> None:
        require_free(self.port, self.name)
        super().launch()

    def ask(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 - whatever JSON it is
        """Return what it answers to a GET; raises `OSError`."""
        url = f"{self.url}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=_LOOK_SECONDS) as answer:
            return json.load(answer)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=_LOOK_SECONDS):
                return True
        except OSError:
            return False


class Alertmanager(_Monitor):
    """An Alertmanager that calls nobody."""

    def __init__(self, folder: Path) -> None:
        """Choose a port; `folder` gets configuration, data and log."""
        data = folder.absolute() / "alertmanager-data"
        options = (f"--storage.path={data}", "--cluster.listen-address=")
        program = ALERTMANAGER.obtain()
        super().__init__("alertmanager", program, folder.absolute(), *options)
        self.folder = program.parent
        document = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
        (folder / f"{self.name}.yml").write_text(json.dumps(document))

    def firing(self) -> list[dict[str, Any]]:
        """Return the alerts that fire now."""
        return list(self.ask("/api/v2/alerts", active="true"))


class Prometheus(_Monitor):
    """A Prometheus that scrapes pages and sends alerts."""

    def __init__(self, folder: Path, rules: Sequence[Path], alertmanager: Alertmanager) -> None:
        """Choose a port; scrape nothing before `scrape` says what."""
        data = f"--storage.tsdb.path={folder / 'prometheus-data'}"
        super().__init__("prometheus", PROMETHEUS.obtain(), folder, data)
        self._targets = folder / "targets.json"
        self.scrape({})
        document = {
            "global": {"scrape_interval": EVERY, "evaluation_interval": EVERY},
            "rule_files": [str(place) for place in rules],
            "alerting": {
                "alertmanagers": [
                    {"static_configs": [{"targets": [f"{LOOPBACK}:{alertmanager.port}"]}]}
                ]
            },
            "scrape_configs": [
                {
                    "job_name": "scheduler",
                    "file_sd_configs": [{"files": [str(self._targets)], "refresh_interval": EVERY}],
                }
            ],
        }
        (folder / f"{self.name}.yml").write_text(json.dumps(document))

    def scrape(self, targets: Mapping[str, str]) -> None:
        """Scrape these from now on: `host:port` by the name that becomes the label `pod`."""
        groups = [
            {"targets": [address], "labels": {"pod": name}} for name, address in targets.items()
        ]
        fresh = self._targets.with_suffix(".new")
        fresh.write_text(json.dumps(groups))
        fresh.replace(self._targets)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what an expression is now."""
        return list(self.ask("/api/v1/query", query=expression)["data"]["result"])

    def query_range(
        self, expression: str, start: float, end: float, step: float
    ) -> list[dict[str, Any]]:
        """Return what an expression was between two instants, in Unix seconds."""
        answer = self.ask(
            "/api/v1/query_range",
            query=expression,
            start=str(start),
            end=str(end),
            step=f"{step:g}",
        )
        return list(answer["data"]["result"])
