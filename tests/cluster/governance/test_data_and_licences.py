"""Rows 7, 8, 9 and 13 of the decision table and the withdrawal of data, each with its neighbour that is let pass, by a real operator.

The pods are fake: what prepare reads of a model and counts in data is told by their last words. All jobs of the module are submitted at
once, into one governed namespace, and every test looks at its own.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from finetune_operator.api.base import API_VERSION
from finetune_operator.api.crd import TRAININGDATASET
from finetune_operator.manifests.labels import LABEL_JOB, LABEL_STEP
from finetune_testbed import outcomes
from finetune_testbed.apiserver import MERGE
from finetune_testbed.bed import Testbed
from finetune_testbed.outcomes import PodOutcome
from finetune_trainer.contract import DataQuality
from finetune_trainer.contract.model import BaseModelFindings, Licence, LicenceCategory, WeightsFormat
from tests.cluster import governed_site
from tests.cluster.governed_site import DECLARED, Site
from tests.cluster.operator_process import until
from tests.unit.domain.samples import words

MIT = Licence(key="MIT", category=LicenceCategory.PERMISSIVE)
SAFE = (WeightsFormat.SAFETENSORS,)
LLAMA = Licence(key="LicenseRef-scancode-llama-3.1-license-2024", category=LicenceCategory.PROPRIETARY_FREE)
STRICT, LENIENT, REVIEWED = "finetune.dev/regime.pci", "finetune.dev/regime.export", "finetune.dev/regime.minors"
"""Under the first two regimes policies ask for the same quality, and only the second one's can be waived; under the third, for a review."""
TERMS = {"allow": ["Permissive"], "conditional": ["Proprietary Free"], "deny": ["Copyleft"]}


def prepared(*licences: Licence, **counts: int) -> PodOutcome:
    return _told(BaseModelFindings(licences=licences or (MIT,), formats=SAFE), **counts)


def unlicensed() -> PodOutcome:
    return _told(BaseModelFindings(formats=SAFE))


def _told(found: BaseModelFindings, **counts: int) -> PodOutcome:
    quality = DataQuality(**{"examples": 900, "task_minimum": 200, "duplicates": 9, "evaluation_overlap": 0, **counts})
    return PodOutcome(termination_message=words("prepare", "", base_model=found, quality=quality))


def refused(**found: Any) -> PodOutcome:
    message = words("prepare", "", 66, reason="NoSafetensors", base_model=BaseModelFindings(licences=(MIT,), **found))
    return PodOutcome(exit_code=66, termination_message=message)


JOBS: dict[str, tuple[PodOutcome | None, dict[str, str]]] = {
    "fine": (None, {}),
    "unknown": (unlicensed(), {}),
    "denied": (prepared(Licence(key="GPL-3.0-only", category=LicenceCategory.COPYLEFT)), {}),
    "conditional": (prepared(LLAMA), {}),
    "pickled": (refused(formats=(WeightsFormat.PICKLE,)), {}),
    "with-code": (refused(formats=SAFE, remote_code=True), {}),
    "good-data": (None, {STRICT: "true"}),
    "too-few": (prepared(task_minimum=1000), {STRICT: "true"}),
    "repeated": (prepared(duplicates=46), {STRICT: "true"}),
    "seen": (prepared(evaluation_overlap=1), {STRICT: "true"}),
    "reviewed": (None, {REVIEWED: "true"}),
    "seen-waivable": (prepared(evaluation_overlap=1), {LENIENT: "true"}),
}


@pytest.fixture(scope="module")
def site(t2: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        made = stack.enter_context(governed_site.site(t2))
        namespace = made.here.namespace
        made.label({f"finetune.dev/clearance.{regime}": "true" for regime in ("pci", "export", "minors")})
        made.demand(licences=TERMS)
        quality = {"maxDuplicatePercent": 5, "maxEvaluationOverlap": 0}
        made.demand("strict", match={"regimes": ["pci"]}, quality=quality)
        made.demand("lenient", match={"regimes": ["export"]}, quality={**quality, "waivable": True})
        made.demand("looked-at", match={"regimes": ["minors"]}, review={"rows": 50})
        made.register("written", uri="pvc://data/written.jsonl", generatedBy=[{"name": "big", "licence": LLAMA.key}])
        made.register("tickets")
        played = [
            outcomes.played(t2, {LABEL_STEP: "prepare", LABEL_JOB: name}, outcome, name=f"{namespace}-{name}", namespace=namespace)
            for name, (outcome, _) in JOBS.items()
            if outcome is not None
        ]
        with ThreadPoolExecutor(len(played)) as together:  # each waits until the API server has heard of it
            list(together.map(stack.enter_context, played))
        stack.enter_context(governed_site.governing(made.here, tmp_path_factory.mktemp("operator")))
        for name, (_, labels) in JOBS.items():
            made.submit(name, {**DECLARED, **labels})
        made.submit("written", dataset__ref={"name": "written"})
        made.submit("registered", dataset__ref={"name": "tickets"})
        yield made


def waive(site: Site, name: str) -> None:
    digest = site.digest(name)
    for person in ("bob", "eve"):
        site.approve(name, person, digest, "Waive")


def starts_no_training(site: Site, name: str) -> bool:
    return [job["metadata"]["labels"][LABEL_STEP] for job in site.here.jobs(name)] == ["prepare"]


def test_row_7_an_allowed_licence(site: Site) -> None:
    assert site.here.wait_ended("fine") == "Succeeded"
    assert site.here.status("fine")["currentRun"]["inputs"]["baseModel"]["licences"] == [{"key": "Apache-2.0", "category": "Permissive"}]


@pytest.mark.parametrize(("name", "rule"), [("unknown", "LicenceUnknown"), ("denied", "LicenceDenied")])
def test_row_7_no_licence_that_is_known_and_one_that_is_denied(site: Site, name: str, rule: str) -> None:
    site.here.wait_reason(name, rule)
    assert site.here.condition(name, "Stalled")["status"] == "True"
    assert starts_no_training(site, name)


def test_row_7_a_conditional_licence_waits_for_two_who_waive_it_for_this_decision(site: Site) -> None:
    message = site.here.wait_reason("conditional", "AwaitingApproval")["message"]
    assert "LicenceConditional" in message
    assert "approve-waive" in message
    assert starts_no_training(site, "conditional")
    waive(site, "conditional")
    assert site.here.wait_ended("conditional") == "Succeeded"
    (obligation,) = site.here.status("conditional")["artifact"]["obligations"]
    assert (obligation["licence"], obligation["namePrefix"], obligation["licenceText"]) == (LLAMA.key, "Llama", True)


def test_row_8_what_the_licence_of_a_model_that_wrote_the_rows_asks_for_travels_along(site: Site) -> None:
    assert site.here.wait_ended("written") == "Succeeded"
    assert [each["notice"] for each in site.here.status("written")["artifact"]["obligations"]] == ["Built with Llama"]
    assert site.here.wait_ended("fine") == "Succeeded"
    assert "obligations" not in site.here.status("fine")["artifact"]


@pytest.mark.parametrize(("name", "word"), [("pickled", "weights as Pickle"), ("with-code", "remote code")])
def test_row_9_a_model_whose_loading_would_run_code(site: Site, name: str, word: str) -> None:
    assert site.here.wait_ended(name) == "Failed"
    assert word in site.here.wait_reason(name, "UnsafeModelFormat", "Governed")["message"]
    assert site.here.condition(name)["reason"] == "ModelRejected"


def test_row_9_one_of_safetensors(site: Site) -> None:
    assert site.here.wait_ended("fine") == "Succeeded"
    assert site.here.status("fine")["currentRun"]["inputs"]["baseModel"]["formats"] == ["Safetensors"]


def test_row_13_data_as_they_should_be(site: Site) -> None:
    assert site.here.wait_ended("good-data") == "Succeeded"


@pytest.mark.parametrize(
    ("name", "rule"), [("too-few", "TooFewExamples"), ("repeated", "TooManyDuplicates"), ("seen", "EvaluationOverlap")]
)
def test_row_13_data_that_fall_short(site: Site, name: str, rule: str) -> None:
    site.here.wait_reason(name, rule)
    assert starts_no_training(site, name)


def test_row_13_a_shortfall_that_may_be_waived(site: Site) -> None:
    assert "EvaluationOverlap" in site.here.wait_reason("seen-waivable", "AwaitingApproval")["message"]
    waive(site, "seen-waivable")
    assert site.here.wait_ended("seen-waivable") == "Succeeded"


def test_rows_that_were_drawn_are_looked_at_before_training(site: Site) -> None:
    message = site.here.wait_reason("reviewed", "AwaitingApproval")["message"]
    assert "approve-review" in message
    assert "the first 50 rows of report" in message
    assert starts_no_training(site, "reviewed")
    site.approve("reviewed", "bob", site.digest("reviewed"), "Review")
    assert site.here.wait_ended("reviewed") == "Succeeded"


def test_withdrawn_data_take_ready_from_what_was_made_of_them_and_begin_nothing_any_more(site: Site) -> None:
    here = site.here
    assert here.wait_ended("registered") == "Succeeded"
    here.wait_reason("registered", "RunSucceeded")
    path = here.path(TRAININGDATASET.plural, "tickets", group=API_VERSION)
    here.server.request("PATCH", path, {"spec": {"withdrawn": {"reason": "consent revoked"}}}, MERGE)
    assert "consent revoked" in here.wait_reason("registered", "DatasetWithdrawn")["message"]
    site.submit("late", dataset__ref={"name": "tickets"})
    here.wait_reason("late", "DatasetWithdrawn")
    site.submit("by-another-name", dataset__inline__uri="pvc://data/tickets.jsonl")
    here.wait_reason("by-another-name", "DatasetWithdrawn")
    assert here.jobs("late") == here.jobs("by-another-name") == []
    assert until(lambda: here.condition("written")["reason"]) == "RunSucceeded"
