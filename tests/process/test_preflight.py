"""The preflight of a governed step as a process: it begins where what it sees is what was decided upon, else it says by which rule not."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.contract import ExitCode, FailureClass, TerminationMessage, digest_of
from finetune_trainer.contract.governance import Facts, decide
from finetune_trainer.contract.governance.order import order_of
from tests.unit.governance.samples import INLINE, NODE, approvals, changed, policies, run_of

NOW = datetime.now(UTC)
OPEN = {"egress": "Open"}


@dataclass
class Pod:
    """The files that a preflight finds, and its command line."""

    folder: Path

    def __post_init__(self) -> None:
        self.order, self.spec, self.token = self.folder / "order.json", self.folder / "run.json", self.folder / "token"
        self.node = "node-1"
        self.spec.write_text(run_of(INLINE).to_json())
        self.tell()

    def tell(self, **given: Any) -> None:
        """The operator's order, by which two people have agreed to this very run."""
        rules = policies(OPEN)
        digest = decide(Facts.model_validate(INLINE), rules, NOW).digest
        people = approvals(digest, "bob", "carol", **{"givenAt": NOW - timedelta(hours=1), **given})
        facts = Facts.model_validate({**INLINE, "approvals": people})
        self.write(order_of(facts, rules, NOW, run_key="ab" * 32, nodes={"node-1": NODE, "node-2": {}}).to_json())

    def write(self, text: str) -> None:
        self.order.write_text(text)
        self.digest = digest_of(text.encode())

    def rewrite(self, **changes: Any) -> None:
        self.write(json.dumps({**json.loads(self.order.read_text()), **changes}))

    def run(self) -> tuple[int, TerminationMessage, list[dict[str, Any]]]:
        log = self.folder / "termination.json"
        flags = ["--spec", self.spec, "--order", self.order, "--order-digest", self.digest, "--node", self.node, "--api-token", self.token]
        command = [sys.executable, "-m", "finetune_trainer.cli.main", "preflight", *map(str, flags)]
        surroundings = {**os.environ, "FINETUNE_TERMINATION_LOG": str(log)}
        done = subprocess.run(command, check=False, env=surroundings, capture_output=True, text=True, timeout=120)
        return done.returncode, TerminationMessage.from_json(log.read_bytes()), [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


def test_it_begins_where_it_sees_what_was_decided_upon_and_logs_the_decision(pod: Pod) -> None:
    code, word, events = pod.run()
    assert (code, word.outcome, word.step, word.run_key) == (ExitCode.DONE, FailureClass.DONE, "preflight", "ab" * 32)
    told = next(event for event in events if event["event"] == "decided_again")
    assert (told["outcome"], told["decision"]) == ("Allow", told["sealed"])
    assert (told["policies"], told["node"], told["node_known"]) == (["phi@3"], "node-1", True)


def expired(pod: Pod) -> None:
    pod.tell(expiresAt=NOW - timedelta(seconds=1))


def with_a_token(pod: Pod) -> None:
    pod.token.write_text("secret")


def elsewhere(pod: Pod) -> None:
    pod.node = "node-2"


def another_run(pod: Pod) -> None:
    pod.spec.write_text(run_of(changed(INLINE, {"datasets__0__uri": "pvc://clinic/others.jsonl"})).to_json())


def loosened(pod: Pod) -> None:
    pod.rewrite(policies=[])


def gone(pod: Pod) -> None:
    pod.order.unlink()


def torn(pod: Pod) -> None:
    pod.order.write_text(pod.order.read_text()[:-200])


def without_policies(pod: Pod) -> None:
    document = json.loads(pod.order.read_text())
    del document["policies"]
    pod.write(json.dumps(document))


def newer(pod: Pod) -> None:
    pod.rewrite(apiVersion="finetune.dev/v1", facts={**json.loads(pod.order.read_text())["facts"], "novelty": True})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (expired, "ApprovalStale"),
        (with_a_token, "ApiTokenMounted"),
        (elsewhere, "ResidencyViolation"),
        (another_run, "DigestMismatch"),
        (loosened, "NoMatchingPolicy"),
        (gone, "OrderMissing"),
        (torn, "OrderDamaged"),
        (without_policies, "OrderUnreadable"),
        (newer, "OrderUnreadable"),
    ],
)
def test_it_refuses_and_says_why_and_what_to_do(change: Callable[[Pod], None], reason: str, pod: Pod) -> None:
    change(pod)
    code, word, events = pod.run()
    assert (code, word.outcome, word.reason) == (ExitCode.DENIED, FailureClass.DENIED, reason)
    assert word.hint
    rules = [refusal.rule for refusal in word.refusals]
    assert rules[:1] == ([] if reason.startswith("Order") else [reason])
    assert all(refusal.remedy for refusal in word.refusals)
    assert events[-1]["reason"] == reason
    assert "secret" not in word.to_json() + json.dumps(events)
