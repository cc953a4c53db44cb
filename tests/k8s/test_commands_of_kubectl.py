"""Every `kubectl` command that the documents show names objects, ports and folders that the manifests make."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from starter import parse
from tests.docs.readme import blocks
from tests.k8s import manifests as anchoring
from tests.k8s.manifests import FOLDER, KUSTOMIZATION, REPOSITORY, documents
from tests.k8s.rendered import render
from tests.k8s.scheduler_service import NAME, manifests, ports
from tests.k8s.scheduler_service import kustomization as of_service

PAGES = [REPOSITORY / "docs" / f"{name}.md" for name in ("kubernetes", "cut-over", "operations")]
NAMESPACE = of_service()["namespace"]
SUFFIX = "-next"
MAINTENANCE = FOLDER / "maintenance"
"""Its CronJob lies in a namespace of its own."""
OPERATOR = REPOSITORY / "ops/kubernetes/operator"
OF_THE_CLUSTER = {"diff", "apply", "delete"}
"""What needs no namespace where a folder has one."""


def commands(page: Path) -> list[list[str]]:
    """Return the `kubectl` commands of a page; a line that ends in a backslash goes on."""
    plain = "\n".join(line.strip() for line in page.read_text(encoding="utf-8").splitlines())
    lines = "\n".join(blocks("sh", plain)).replace("\\\n", " ").splitlines()
    shown = (shlex.split(line, comments=True) for line in lines if line.startswith("kubectl "))
    return [command for command in shown if command]


ALL = [(page.stem, command) for page in PAGES for command in commands(page)]


def having(word: str) -> list[list[str]]:
    """Return the different commands that have a word."""
    unlike = {" ".join(command): command for _, command in ALL if word in command}
    return list(unlike.values())


@cache
def objects() -> dict[str, set[str]]:
    """Return the names of what there is, by kind."""
    of_service = {NAME, f"{NAME}{SUFFIX}"}
    (operator,) = [each for each in render(OPERATOR) if each["kind"] == "Deployment"]
    there: dict[str, set[str]] = {
        "deployment": {operator["metadata"]["name"], *of_service},
        "service": of_service,
        "secret": {NAME},
        "configmap": set(),
    }
    for path in anchoring.manifest_files():
        for document in documents(path):
            there.setdefault(document["kind"].lower(), set()).add(document["metadata"]["name"])
    for volume in anchoring.pod()["volumes"]:
        there["secret"] |= {volume["secret"]["secretName"]} if "secret" in volume else set()
        there["configmap"] |= {volume["configMap"]["name"]} if "configMap" in volume else set()
    for entry in anchoring.container()["env"]:
        if "valueFrom" in entry:
            there["secret"].add(entry["valueFrom"]["secretKeyRef"]["name"])
    return there


def namespace_of_maintenance() -> str:
    text = (MAINTENANCE / KUSTOMIZATION).read_text(encoding="utf-8")
    return str(yaml.safe_load(text)["namespace"])


def objects_of_maintenance() -> dict[str, set[str]]:
    """Return the names of what the CronJob of maintenance reads, by kind."""
    text = (MAINTENANCE / "cron-job.yaml").read_text(encoding="utf-8")
    pod = yaml.safe_load(text)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    read = {kind: each[kind]["name"] for each in container["envFrom"] for kind in each}
    mounted = {volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume}
    return {"secret": {read["secretRef"]}, "configmap": {read["configMapRef"], *mounted}}


def ports_of(kind: str, name: str) -> set[int]:
    if kind == "deployment" and name == anchoring.manifest("Deployment")["metadata"]["name"]:
        return {port["containerPort"] for port in anchoring.container()["ports"]}
    if kind == "deployment":
        return set(ports().values())
    assert name.removesuffix(SUFFIX) == NAME
    return {port["port"] for port in manifests()["Service"]["spec"]["ports"]}


def named(command: list[str]) -> Iterator[tuple[str, str]]:
    for word in command:
        if match := re.fullmatch(r"([a-z]+)/([\w-]+)", word):
            yield match[1], match[2]
    match command[3:]:
        case ["delete", "secret" | "configmap" as kind, *names]:
            yield from ((kind, name) for name in names)
        case ["patch", "secret", name, *_]:
            yield "secret", name
        case ["create", "secret", "generic", name, *_]:
            yield "secret", name
        case ["create", "configmap", name, *_]:
            yield "configmap", name
        case _:
            pass


def after(command: list[str], option: str) -> str | None:
    return command[command.index(option) + 1] if option in command else None


def test_the_pages_show_commands() -> None:
    counted = {page.stem: len(commands(page)) for page in PAGES}
    assert counted["kubernetes"] >= 50
    assert counted["cut-over"] >= 10
    shown = {word for _, command in ALL for word in command}
    assert {"logs", "exec", "port-forward", "undo", "status", "apply", "diff"} <= shown


@pytest.mark.parametrize("command", having("kubectl"), ids=" ".join)
def test_a_command_names_what_there_is(command: list[str]) -> None:
    of_maintenance = command[1:3] == ["-n", namespace_of_maintenance()]
    there = objects_of_maintenance() if of_maintenance else objects()
    for kind, name in named(command):
        assert name in there[kind], (kind, name)
    if folder := after(command, "-k"):
        assert (REPOSITORY / folder / KUSTOMIZATION).exists()
        assert command[1] in OF_THE_CLUSTER
    elif command[1:3] == ["create", "namespace"]:
        assert command[3:] == [NAMESPACE]
    elif not of_maintenance:
        assert command[1:3] == ["-n", NAMESPACE]
    if label := after(command, "-l"):
        key, _, value = label.partition("=")
        template = manifests()["Deployment"]["spec"]["template"]["metadata"]["labels"]
        assert template[key] == value


@pytest.mark.parametrize("command", having("port-forward"), ids=" ".join)
def test_a_forward_leads_to_a_port_that_answers(command: list[str]) -> None:
    ((kind, name),) = named(command)
    _, _, port = command[-1].partition(":")
    assert int(port) in ports_of(kind, name)


@pytest.mark.parametrize("command", having("exec"), ids=" ".join)
def test_what_is_run_in_a_pod_is_a_command_of_ours(command: list[str]) -> None:
    python, program, *arguments = command[command.index("--") + 1 :]
    assert (python, program) == ("python", "starter.py")
    parse(arguments)


@pytest.mark.parametrize("page", PAGES[:2], ids=lambda page: page.stem)
def test_commands_of_ours_beside_kubectl_are_some_that_there_are(page: Path) -> None:
    text = "\n".join(blocks("sh", page.read_text(encoding="utf-8")))
    for line in re.findall(r"^python starter\.py (.+)$", text, re.MULTILINE):
        parse(shlex.split(line, comments=True))


def test_the_secret_has_the_name_that_the_pods_ask_for() -> None:
    (_, secret) = manifests()["Deployment"]["spec"]["template"]["spec"]["containers"][0]["envFrom"]
    made = {name for _, command in ALL for kind, name in named(command) if kind == "secret"}
    assert secret["secretRef"]["name"] in made


def test_a_drain_is_waited_for_before_anything_else_is_started() -> None:
    """The harm: a pod that still calls, beside the scheduler before."""
    grace = manifests()["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    (back,) = [
        command
        for page, command in ALL
        if page == "cut-over" and "delete" in command and "--timeout=7m" in command
    ]
    assert grace < 7 * 60
    assert "--cascade=foreground" in back
