"""Compiles the contract, always to the same bytes.

1. The compiler is pinned, and so is all that enters the code: EVM version, optimizer, no metadata at its end.
2. Nothing is written that `contracts.check` finds a problem with.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

from contracts.artifact import ARTIFACT_FILE, CONTRACT, Artifact
from contracts.check import SETTINGS, SOURCE_FILE, load_source, problems, source_sha256
from devnet.errors import PartError
from devnet.solc import SOLC_VERSION, solc_js

OUTPUTS: list[JsonValue] = [
    "abi",
    "evm.bytecode.object",
    "evm.deployedBytecode.object",
    "evm.methodIdentifiers",
]
COMPILE_SECONDS = 60
_JSON: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


class CompileError(Exception):
    """The compiler did not accept the source, or is not the pinned one."""


def compile_artifact(source: str, solc: Path) -> Artifact:
    """Compile the contract with the solc-js in a `node_modules` folder, and return its artifact.

    Raises:
        CompileError: the source has an error or a warning, or the compiler is another one.
    """
    program = ["node", str(solc / "solc" / "solc.js")]
    compiler = _run([*program, "--version"], "").strip()
    if not compiler.startswith(f"{SOLC_VERSION}+"):
        message = f"{solc} holds solc {compiler}; the artifact is made by {SOLC_VERSION}"
        raise CompileError(message)
    selection: JsonValue = {"*": {"*": OUTPUTS}}
    request = {
        "language": "Solidity",
        "sources": {SOURCE_FILE.name: {"content": source}},
        "settings": {**SETTINGS, "outputSelection": selection},
    }
    printed = _run([*program, "--standard-json"], json.dumps(request))
    return _artifact(source, compiler, printed[printed.index("{") :])


def artifact_text(artifact: Artifact) -> str:
    """Return an artifact as it is committed."""
    return json.dumps(artifact, indent=2) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Compile, and write the artifact or compare it with the committed one."""
    parser = argparse.ArgumentParser(prog="python -m contracts.build", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="compare; exit 1 if it differs")
    wanted = parser.parse_args(arguments)
    source = load_source()
    try:
        artifact = compile_artifact(source, solc_js())
    except (CompileError, PartError) as error:
        print(error, file=sys.stderr)
        return 1
    complaints = problems(artifact, source)
    text = artifact_text(artifact)
    if not wanted.check and not complaints:
        ARTIFACT_FILE.write_text(text, encoding="utf-8")
    elif wanted.check and ARTIFACT_FILE.read_text(encoding="utf-8") != text:
        complaints.append(f"{ARTIFACT_FILE.name} is not what {SOURCE_FILE.name} compiles to")
    print(*(complaints or [f"{ARTIFACT_FILE.name}: {artifact['compiler']}, as compiled"]), sep="\n")
    return 1 if complaints else 0


def _run(command: list[str], standard_input: str) -> str:
    try:
        done = subprocess.run(
            command,
            input=standard_input,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMPILE_SECONDS,
        )
    except FileNotFoundError as error:
        message = "node is not installed; solc-js runs on it"
        raise CompileError(message) from error
    if done.returncode:
        message = f"the compiler failed: {(done.stderr or done.stdout).strip()[-500:]}"
        raise CompileError(message)
    return done.stdout


def _artifact(source: str, compiler: str, answer: str) -> Artifact:
    """Return the artifact in a compiler's answer; warnings count as errors."""
    output = json.loads(answer)
    if output.get("errors"):
        message = "\n".join(error["formattedMessage"] for error in output["errors"])
        raise CompileError(message)
    contract = output["contracts"][SOURCE_FILE.name][CONTRACT]
    return _JSON.validate_python(
        {
            "contractName": CONTRACT,
            "source": SOURCE_FILE.name,
            "sourceSha256": source_sha256(source),
            "compiler": compiler,
            "settings": SETTINGS,
            "abi": contract["abi"],
            "methodIdentifiers": contract["evm"]["methodIdentifiers"],
            "bytecode": "0x" + contract["evm"]["bytecode"]["object"],
            "deployedBytecode": "0x" + contract["evm"]["deployedBytecode"]["object"],
        }
    )


if __name__ == "__main__":
    sys.exit(main())
