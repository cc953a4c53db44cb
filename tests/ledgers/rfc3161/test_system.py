"""The whole way from a batch to a verified token, with workers killed on the way: real server, real authority."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from devnet.tsa import Tsa
from tests.support.system import System, authority

pytestmark = [pytest.mark.fault, pytest.mark.server, pytest.mark.slow]


class Stamped(System):
    """Temporal, an authority, and workers; no chain."""

    def __init__(self, folder: Path) -> None:
        self.tsa = Tsa(folder / "root", faults=True)
        depth = 3  # which no authority has
        cold = authority(self.tsa, required_depth=depth, allowSha1CertId=True)
        super().__init__(folder, cold)

    def rounds(self) -> list[Path]:
        """Return the folders of all rounds that were signed."""
        folder = self.root / "out/rounds/rfc3161_tsa"
        return sorted(one.parent for one in folder.glob("*/candidate-0.json"))


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stamped]:
    with Stamped(tmp_path_factory.mktemp("stamped")) as running:
        yield running


@pytest.mark.parametrize(
    "crash_at", ["after:reserve", "after:sign", "before:broadcast", "after:broadcast", "after:record"]
)  # fmt: skip
def test_a_killed_worker_costs_no_anchor_and_a_stored_reply_is_not_asked_for_again(
    system: Stamped, crash_at: str
) -> None:
    rounds, queries = len(system.rounds()), system.tsa.queries()
    namespace, batches = system.seal_across_a_crash(crash_at)
    survivor = system.start_worker()
    system.wait_final(namespace, *batches)
    survivor.stop()
    assert len(system.rounds()) == rounds + 1
    assert len(list(system.rounds()[-1].glob("reply-*"))) == 1
    assert system.tsa.queries() == queries + 1
    for batch_id in batches:
        receipt = system.receipt(namespace, batch_id)
        assert receipt is not None
        assert receipt["txRef"].startswith("serial:")
        assert (receipt["blockNumber"], "txHash" in receipt) == (0, False)
        told = system.command("verify", "--batch", batch_id)
        assert told.returncode == 0, told.stdout + told.stderr


def test_a_failing_authority_is_shown_and_then_gone_on_with_after_a_lost_history(
    system: Stamped, tmp_path: Path
) -> None:
    namespace = "dao:refused"
    event = tmp_path / "event.txt"
    event.write_text("something that happened")
    sealed = system.command("seal", namespace, str(event), "--json")
    assert sealed.returncode == 0, sealed.stderr
    made = json.loads(sealed.stdout)
    batch_id = made["batch"]
    system.tsa.fail("refusal")
    worker = system.start_worker()
    rounds = len(system.rounds())
    system.register(namespace)
    system.wait(lambda: len(system.rounds()) > rounds, "a signed round")
    failure = system.wait(
        lambda: system.status(namespace)["cadences"]["cold"]["in_flight"]["last_failure"],
        "the failure in the status",
    )
    assert failure["kind"] == "validation"
    assert "status: rejected" in failure["message"]
    system.terminate_aggregator()
    system.tsa.fail("")
    system.wait_final(namespace, batch_id)
    worker.stop()
    assert len(system.rounds()) == rounds + 1
    assert system.command("verify", "--batch", batch_id).returncode == 0
    told = system.command("verify", "--event", made["events"][0])
    assert told.returncode == 0, told.stdout + told.stderr
    assert "certificate: bound by sha256" in told.stdout, (
        "the legacy anchor's own token was checked"
    )


def test_leave_for_sha1_is_in_the_receipt_and_both_verdicts_say_so(system: Stamped) -> None:
    namespace = "dao:weak"
    file = system.tsa.place / "tsa.cnf"
    strong = file.read_text()
    file.write_text(strong.replace("ess_cert_id_alg = sha256", "ess_cert_id_alg = sha1"))
    batch_id = system.seal(namespace)
    worker = system.start_worker()
    try:
        system.register(namespace)
        system.wait_final(namespace, batch_id)
    finally:
        worker.stop()
        file.write_text(strong)
    receipt = system.receipt(namespace, batch_id)
    assert receipt is not None
    assert receipt["evidence"]["rfc3161"]["allowSha1CertId"] is True
    place = str(system.receipt_file(namespace, batch_id))
    roots = str(system.tsa.roots)
    for command in (("--batch", batch_id), ("--offline", place, "--trust-roots", roots)):
        told = system.command("verify", *command)
        assert told.returncode == 0, told.stdout + told.stderr
        assert "SHA-1 alone binds the signer's certificate (allowSha1CertId)" in told.stdout
