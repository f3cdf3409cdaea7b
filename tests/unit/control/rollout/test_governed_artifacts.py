"""The reverse index: what governance knows of an adapter by its digest, kept from what FineTuneJobs say as they pass by."""

from typing import Any

from finetune_operator.cluster.cache import Key
from finetune_operator.control.rollout.artifacts import Artifacts
from finetune_trainer.contract.governance.facts import Proof
from finetune_trainer.contract.governance.vocabulary import Level
from tests.unit.control.rollout.samples import finetunejob

ONE, TWO = ("sha256:" + digit * 64 for digit in "12")


def governed(name: str, *digests: str, level: str = "internal", data: str = "tickets", **changes: Any) -> dict[str, Any]:
    """A job whose runs have made these adapters, the last one just now."""
    runs = [{"artifactDigest": digest, "inputs": {"dataset": {"name": data, "uri": f"pvc://data/{data}"}}} for digest in digests]
    current = {"adapterDigest": digests[-1], "inputs": runs[-1]["inputs"], **changes}
    return finetunejob(name, digests[-1], currentRun=current, history=runs, governance={"classification": {"level": level}})


def test_every_adapter_that_a_governed_job_has_made_is_known_with_its_data() -> None:
    known = Artifacts()
    known.remember(Key("ns", "j"), governed("j", ONE, TWO, record={"sequence": 1}))
    found = known.known([ONE, TWO, "sha256:" + "9" * 64])
    assert set(found) == {ONE, TWO}
    for record in found.values():
        assert [(each.namespace, each.name) for each in record.data] == [("ns", "tickets")]
        assert record.classification is not None
        assert record.classification.level is Level.INTERNAL
    assert (found[ONE].signature, found[TWO].signature) == (Proof.ABSENT, Proof.VALID)


def test_of_one_adapter_that_two_jobs_have_made_all_is_known() -> None:
    known = Artifacts()
    known.remember(Key("ns", "j"), governed("j", ONE))
    known.remember(Key("ns", "k"), governed("k", ONE, level="restricted", data="others"))
    (found,) = known.known([ONE]).values()
    assert [each.name for each in found.data] == ["tickets", "others"]
    assert found.classification is not None
    assert found.classification.level is Level.RESTRICTED
    known.forget(Key("ns", "k"))
    (found,) = known.known([ONE]).values()
    assert [each.name for each in found.data] == ["tickets"]


def test_a_job_without_governance_says_nothing_and_a_level_that_cannot_be_read_counts_as_the_highest() -> None:
    known = Artifacts()
    known.remember(Key("ns", "j"), finetunejob("j", ONE))
    assert known.known([ONE]) == {}
    known.remember(Key("ns", "j"), governed("j", ONE, level="secret"))
    (found,) = known.known([ONE]).values()
    assert found.classification is not None
    assert found.classification.level is Level.RESTRICTED
