"""What prepare finds in the files of the base model is decided upon before anything is trained: licences, formats, remote code."""

from typing import Any

import pytest

from finetune_trainer.contract.model import BaseModelFindings, Licence, LicenceCategory, WeightsFormat
from tests.unit.domain.governed import DIGEST, approval, dataset, policy, registered, told, view, world
from tests.unit.domain.samples import words
from tests.unit.domain.world import World

LLAMA = Licence(key="LicenseRef-scancode-llama-3.1-license-2024", category=LicenceCategory.PROPRIETARY_FREE)
MIT = Licence(key="MIT", category=LicenceCategory.PERMISSIVE)
UNKNOWN = Licence(key="qwen-research")
GPL = Licence(key="GPL-3.0-only", category=LicenceCategory.COPYLEFT)
TERMS = {"allow": ["Permissive"], "conditional": ["Proprietary Free"], "deny": ["Copyleft"]}
MODEL = "pvc://models/tiny-chat"


class TestBaseModel:
    def prepared(self, found: BaseModelFindings, terms: dict[str, Any], **changes: Any) -> World:
        job = world(view(policy(licences=terms)), **changes)
        job.run_pod()
        job.settle()
        job.end_pod(message=words("prepare", job.run["key"], base_model=found))
        job.settle()
        return job

    @pytest.mark.parametrize(
        ("licences", "reason"),
        [
            ((MIT,), ""),
            ((), "LicenceUnknown"),
            ((UNKNOWN,), "LicenceUnknown"),
            ((GPL,), "LicenceDenied"),
            ((MIT, GPL), "LicenceDenied"),
            ((LLAMA,), "AwaitingApproval"),
        ],
        ids=["allowed", "none found", "unknown", "denied", "one of two denied", "conditional"],
    )
    def test_its_licence_is_that_of_its_files(self, licences: tuple[Licence, ...], reason: str) -> None:
        job = self.prepared(BaseModelFindings(licences=licences), TERMS)
        assert told(job, "Governed")[0] == ("False" if reason else "True")
        assert not reason or told(job, "Ready")[1] == reason
        assert any("train" in name for name in job.created) is not bool(reason)

    def test_what_the_job_says_itself_can_only_speak_against_it(self) -> None:
        found = BaseModelFindings(claimed=MIT)
        assert told(self.prepared(found, TERMS, baseModel__licence="MIT"), "Ready")[1] == "LicenceUnknown"
        found = BaseModelFindings(licences=(MIT,), claimed=GPL)
        assert told(self.prepared(found, TERMS, baseModel__licence="gpl-3.0"), "Ready")[1] == "LicenceDenied"

    @pytest.mark.parametrize(
        ("stated", "reason"),
        [
            ({"licence": "LicenseRef-qwen-research"}, ""),
            ({"licence": "LicenseRef-qwen-research", "digest": "sha256:" + "ba" * 32}, ""),
            ({"licence": "LicenseRef-qwen-research", "digest": DIGEST}, "LicenceUnknown"),
            ({"licence": "LicenseRef-qwen-research", "uri": "pvc://models/other"}, "LicenceUnknown"),
        ],
        ids=["of this model", "of these files", "of other files", "of another model"],
    )
    def test_the_policy_can_state_it_instead(self, stated: dict[str, str], reason: str) -> None:
        terms = {**TERMS, "allow": ["LicenseRef-qwen-research"], "stated": [{"uri": MODEL, **stated}]}
        job = self.prepared(BaseModelFindings(licences=(UNKNOWN,)), terms)
        assert (told(job, "Governed")[0], told(job, "Governed")[1]) == (("False", reason) if reason else ("True", "Allowed"))

    def test_one_that_the_policy_states_and_denies_is_not_even_prepared(self) -> None:
        stated = [{"uri": MODEL, "licence": "LicenseRef-house", "category": "Copyleft"}]
        job = world(view(policy(licences={**TERMS, "stated": stated})))
        assert job.created == []
        assert told(job, "Ready")[1] == "LicenceDenied"

    def test_a_conditional_one_is_waived_for_this_decision(self) -> None:
        job = self.prepared(BaseModelFindings(licences=(LLAMA,)), TERMS)
        given = [approval(name, (job.status or {})["governance"]["digest"], stage="Waive") for name in ("bob", "eve")]
        job.governance = view(policy(licences=TERMS), approvals=given)
        job.settle()
        job.finish()
        assert told(job, "Ready")[1] == "RunSucceeded"

    def test_what_it_asks_for_travels_with_the_artifact(self) -> None:
        job = self.prepared(BaseModelFindings(licences=(LLAMA,)), {"allow": ["*"]})
        assert "LicenceObligation" in told(job, "Governed")[2]
        job.finish()
        (obligation,) = (job.status or {})["artifact"]["obligations"]
        assert obligation["namePrefix"] == "Llama"
        assert obligation["notice"] == "Built with Llama"
        assert obligation["licenceText"] is True
        assert obligation["attribution"].startswith("Llama 3.1 is licensed under")

    def test_a_model_that_wrote_the_rows_asks_too(self) -> None:
        written = [{"name": "big", "licence": LLAMA.key}, {"name": "small", "licence": "MIT"}]
        job = registered(view(policy(), datasets=(dataset(generatedBy=written),)))
        job.finish()
        assert [each["licence"] for each in (job.status or {})["artifact"]["obligations"]] == [LLAMA.key]
        plain = registered(view(policy(), datasets=(dataset(generatedBy=written[1:]),)))
        plain.finish()
        assert "obligations" not in (plain.status or {})["artifact"]

    @pytest.mark.parametrize(
        ("found", "word"),
        [
            (BaseModelFindings(formats=(WeightsFormat.PICKLE,)), "weights as Pickle"),
            (BaseModelFindings(formats=(WeightsFormat.OTHER,)), "weights as Other"),
            (BaseModelFindings(formats=(WeightsFormat.SAFETENSORS,), remote_code=True), "remote code"),
        ],
        ids=["pickles", "another format", "remote code"],
    )
    def test_one_that_would_run_code_is_named_by_the_decision(self, found: BaseModelFindings, word: str) -> None:
        job = world(view(policy()))
        job.run_pod()
        job.settle()
        job.end_pod(66, message=words("prepare", job.run["key"], 66, reason="NoSafetensors", base_model=found))
        job.settle()
        assert told(job, "Ready")[:2] == ("False", "ModelRejected")
        assert told(job, "Governed")[:2] == ("False", "UnsafeModelFormat")
        assert word in told(job, "Governed")[2]

    def test_another_refusal_of_the_model_is_none_of_formats(self) -> None:
        job = world(view(policy()))
        job.run_pod()
        job.settle()
        job.end_pod(66)
        job.settle()
        assert told(job, "Ready")[1] == "ModelRejected"
        assert "UnsafeModelFormat" not in told(job, "Governed")[2]

    def test_what_an_earlier_model_was_says_nothing_about_the_next_one(self) -> None:
        job = self.prepared(BaseModelFindings(licences=(GPL,)), TERMS)
        assert told(job, "Ready")[1] == "LicenceDenied"
        job.change(baseModel__uri="pvc://models/other", runPolicy__concurrency="Replace")
        job.settle()
        job.collect()
        job.settle()
        job.finish()
        assert told(job, "Ready")[1] == "RunSucceeded"

    def test_without_governance_nothing_of_it_is_in_status(self) -> None:
        job = world(None)
        job.finish()
        assert "baseModel" not in job.run["inputs"]
