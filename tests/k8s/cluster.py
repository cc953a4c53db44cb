"""Carries out `kubectl` commands without a cluster: `kubectl` itself makes and renders objects, and pods are processes in the images.

What a cluster would do is done here, and no more: variables and files out of Secrets and ConfigMaps, init containers and then the
container, probes, a new file where a ConfigMap changed, one pod after the other. What no pod of ours can see is left out: networks,
nodes, and who may do what.
"""

import base64
import json
import os
import shlex
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from devnet.ports import LOOPBACK
from devnet.process import Part
from tests.k8s.containers import USER, Container, Image, Mount
from tests.k8s.manifests import REPOSITORY
from tests.k8s.rendered import Manifest, made, render, run_kubectl

READY_SECONDS = 120.0
Objects = dict[tuple[str, str], Manifest]


class Pod:
    """The one pod of a Deployment."""

    def __init__(self, deployment: Manifest, cluster: "Cluster") -> None:
        self.deployment = deployment
        self.name: str = deployment["metadata"]["name"]
        self.folder = cluster.folder / "pods" / self.name
        self.log = self.folder / "log"
        self._cluster = cluster
        self._spec: Manifest = deployment["spec"]["template"]["spec"]
        self._process: Part | None = None
        self.said: dict[str, str] = {}
        """What init containers said."""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    def start(self) -> None:
        """Start init containers, then the container, until its probes answer."""
        self.write_files()
        for box in self._spec.get("initContainers") or []:
            done = self._container(box).run(*self._command(box))
            self.said[box["name"]] = done.stdout + done.stderr
            assert done.returncode == 0, (box["name"], self.said[box["name"]])
        (box,) = self._spec["containers"]
        line = self._container(box).command_line(self._command(box))
        self._process = Part(
            self.name, line, self.log, lambda: self._answers(box), ready_seconds=READY_SECONDS,
            grace_seconds=float(self._spec["terminationGracePeriodSeconds"]),
        )  # fmt: skip
        self._process.start()

    def stop(self) -> int:
        """End it as a node does; returns its exit code."""
        assert self._process is not None
        assert self._process.process is not None
        self._process.stop()
        return int(self._process.process.returncode)

    def execute(self, arguments: list[str]) -> tuple[int, str]:
        """Do `kubectl exec`."""
        (box,) = self._spec["containers"]
        done = self._container(box).run(*arguments)
        return done.returncode, done.stdout + done.stderr

    def write_files(self) -> None:
        """Write what volumes hold; a change takes the place of what was there at once."""
        for volume in self._spec["volumes"]:
            match volume:
                case {"secret": named}:
                    keys = {item["key"]: item["path"] for item in named.get("items", [])}
                    content = self._cluster.data("secret", named["secretName"])
                    self._write(
                        volume["name"],
                        {keys[key]: content[key] for key in keys} or content,
                        named["defaultMode"],
                    )
                case {"configMap": named}:
                    self._write(
                        volume["name"], self._cluster.data("configmap", named["name"]), 0o644
                    )
                case _:
                    pass

    def _write(self, name: str, content: Mapping[str, bytes], mode: int) -> None:
        """Write as a node does: a new folder, and a link to it that is changed at once."""
        place = self.folder / "volumes" / name
        place.mkdir(parents=True, exist_ok=True)
        new = place / f"..{len(list(place.glob('..[0-9]*')))}"
        new.mkdir()
        for key, value in content.items():
            (new / key).write_bytes(value)
            (new / key).chmod(mode)
            os.chown(new / key, 0, USER)
            link = place / key
            if not link.is_symlink():
                link.symlink_to(f"..data/{key}")
        (place / "..new").symlink_to(new.name)
        (place / "..new").rename(place / "..data")

    def _container(self, box: Manifest) -> Container:
        mounts = [self._mount(mount) for mount in box["volumeMounts"]]
        return Container(self._cluster.images[box["image"]], self._environment(box), mounts)

    def _mount(self, mount: Manifest) -> Mount:
        (volume,) = [each for each in self._spec["volumes"] if each["name"] == mount["name"]]
        read_only = bool(mount.get("readOnly", False))
        match volume:
            case {"persistentVolumeClaim": {"claimName": claim}}:
                assert ("persistentvolumeclaim", claim) in self._cluster.objects
                return Mount(mount["mountPath"], self._cluster.volume(claim), read_only)
            case {"emptyDir": _}:
                return Mount(mount["mountPath"])
            case _:
                return Mount(mount["mountPath"], self.folder / "volumes" / mount["name"], read_only)

    def _environment(self, box: Manifest) -> dict[str, str]:
        variables: dict[str, str] = {}
        for entry in box["env"]:
            if "value" in entry:
                variables[entry["name"]] = entry["value"]
                continue
            reference = entry["valueFrom"]["secretKeyRef"]
            optional = reference.get("optional", False)
            content = self._cluster.data("secret", reference["name"], optional=optional)
            if not (optional and reference["key"] not in content):
                variables[entry["name"]] = content[reference["key"]].decode()
        return variables

    def _command(self, box: Manifest) -> list[str]:
        image = self._cluster.images[box["image"]]
        return [*(box.get("command") or image.config["Entrypoint"]), *(box.get("args") or [])]

    def _answers(self, box: Manifest) -> bool:
        port = self._environment(box)["METRICS_PORT"]
        probes = [
            box[name]
            for name in ("startupProbe", "livenessProbe", "readinessProbe")
            if box.get(name)
        ]
        return all(
            _is_well(f"http://{LOOPBACK}:{port}{probe['httpGet']['path']}") for probe in probes
        )


class Cluster:
    """Objects of one Kubernetes namespace, and the pods that they make."""

    def __init__(
        self, folder: Path, images: Mapping[str, Image], edit: Callable[[list[Manifest]], None]
    ) -> None:
        """Prepare it.

        Args:
            folder: where an operator types, and where volumes and logs lie.
            images: what a pod finds by the names of the manifests.
            edit: changes rendered objects as an operator changes their files.
        """
        self.folder, self.images, self._edit = folder, images, edit
        self.objects: Objects = {}
        self.pods: dict[str, Pod] = {}
        self._before: dict[str, Manifest] = {}

    def data(self, kind: str, name: str, *, optional: bool = False) -> dict[str, bytes]:
        """Return what a Secret or a ConfigMap holds."""
        if optional and (kind, name) not in self.objects:
            return {}
        content: dict[str, str] = self.objects[kind, name].get("data", {})
        if kind == "secret":
            return {key: base64.b64decode(value) for key, value in content.items()}
        return {key: value.encode() for key, value in content.items()}

    def volume(self, claim: str) -> Path:
        """Return the folder of a volume, which outlives every pod."""
        place = self.folder / "volumes" / claim
        if not place.exists():
            place.mkdir(parents=True)
            os.chown(place, 0, USER)
            place.chmod(0o2770)
        return place

    def carry_out(self, line: str) -> tuple[int, str]:
        """Carry out one command; returns its exit code and what it prints."""
        words = shlex.split(line, comments=True)[1:]
        if words[0] == "-n":
            words = words[2:]
        match words:
            case ["create", "namespace", _] | ["diff", "-k", _] | ["port-forward", *_]:
                return 0, ""
            case ["exec", pod, "--", *arguments]:
                return self.pods[_name(pod)].execute(arguments)
            case ["logs", pod, *options]:
                return 0, self._log(_name(pod), options)
            case [verb, *rest]:
                _CHANGES[verb](self, rest)
                return 0, ""
        raise AssertionError(line)

    def create(self, words: list[str]) -> None:
        """Have kubectl make an object, and store it."""
        self._store(made(["create", *words], self.folder))

    def apply(self, words: list[str]) -> None:
        """Store objects; pods begin anew where their Deployment changed, and see files that changed."""
        _, place = words
        rendered = self._rendered(place)
        for each in rendered:
            self._store(each)
        for each in rendered:
            if each["kind"] == "Deployment":
                name = each["metadata"]["name"]
                if name not in self.pods or self.pods[name].deployment != each:
                    self._replace(name, each)
        for pod in self.pods.values():
            pod.write_files()

    def logs(self) -> str:
        """Return the end of what each pod said."""
        return "\n".join(pod.log.read_text()[-3000:] for pod in self.pods.values())

    def __enter__(self) -> Self:
        """It has no pods yet."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop every pod."""
        for pod in self.pods.values():
            pod.stop()

    def _rendered(self, place: str) -> list[Manifest]:
        rendered = render(REPOSITORY / place)
        self._edit(rendered)
        return rendered

    def _replace(self, name: str, deployment: Manifest) -> None:
        """Do as the strategy `Recreate` says: the old pod ends, then the new one starts."""
        if name in self.pods:
            old = self.pods.pop(name)
            self._before[name] = old.deployment
            old.stop()
        pod = Pod(deployment, self)
        shutil.rmtree(pod.folder, ignore_errors=True)
        pod.start()
        self.pods[name] = pod

    def _store(self, document: Manifest) -> None:
        self.objects[_key(document)] = document

    def rollout(self, words: list[str]) -> None:
        """Start a pod anew, or the one before it; to wait for it means nothing here."""
        action, pod, *_ = words
        name = _name(pod)
        if action == "restart":
            self._replace(name, self.pods[name].deployment)
        elif action == "undo":
            self._replace(name, self._before[name])
        else:
            assert (action, self.pods[name].alive) == ("status", True)

    def scale(self, words: list[str]) -> None:
        """Stop a pod, which must end in order."""
        pod, replicas = words
        assert replicas == "--replicas=0"
        assert self.pods.pop(_name(pod)).stop() == 0

    def patch(self, words: list[str]) -> None:
        """Have kubectl change a Secret; what it adds as text is encoded, as an API server does."""
        kind, name, patch = words
        file = self.folder / "object.json"
        file.write_text(json.dumps(self.objects[kind, name]))
        arguments = ["patch", "--local", "-f", str(file), patch, "--output=json"]
        document = json.loads(run_kubectl(arguments, self.folder))
        for key, text in document.pop("stringData", {}).items():
            document["data"][key] = base64.b64encode(text.encode()).decode()
        self._store(document)

    def _log(self, name: str, options: list[str]) -> str:
        pod = self.pods[name]
        (container,) = [each.partition("=")[2] for each in options if "--container" in each] or [""]
        return pod.said[container] if container else pod.log.read_text()

    def delete(self, words: list[str]) -> None:
        """Remove objects: those of a folder, those named `kind/name`, or those of a kind by their names."""
        match words:
            case ["-k", place]:
                named = [_key(each) for each in self._rendered(place)]
            case [kind, *names] if "/" not in kind:
                named = [(kind, name) for name in names]
            case _:
                named = [(kind, name) for kind, _, name in (word.partition("/") for word in words)]
        for kind, name in named:
            self._delete(kind, name)

    def _delete(self, kind: str, name: str) -> None:
        del self.objects[kind, name]
        if kind == "deployment" and name in self.pods:
            self.pods.pop(name).stop()


_CHANGES: dict[str, Callable[[Cluster, list[str]], None]] = {
    verb: getattr(Cluster, verb)
    for verb in ("create", "apply", "rollout", "scale", "patch", "delete")
}


def _key(document: Mapping[str, Any]) -> tuple[str, str]:
    return document["kind"].lower(), document["metadata"]["name"]


def _name(word: str) -> str:
    kind, _, name = word.partition("/")
    assert kind == "deployment"
    return name


def _is_well(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
