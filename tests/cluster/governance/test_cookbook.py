"""Each recipe of docs/governance/cookbook.md as examples/governance/cookbook has it: a job that it stops, and one that it lets pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from finetune_operator.api.crd import GOVERNANCEPOLICY
from finetune_testbed import outcomes
from finetune_testbed.outcomes import PodOutcome
from finetune_trainer.contract import DataQuality, ScanSummary
from finetune_trainer.contract.model import BaseModelFindings, Licence, LicenceCategory, WeightsFormat
from tests.cluster import crd
from tests.cluster.governance.conftest import standing
from tests.cluster.governed_site import DECLARED, Site
from tests.cluster.operator_process import OperatorProcess, until
from tests.unit.domain.samples import words

FOLDER = Path("examples/governance/cookbook")
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
RECIPE_LABEL = "example.com/recipe"
DIGEST = "sha256:" + "a" * 64
PREPARE = {"finetune.dev/step": "prepare"}
PATIENTS = {"finetune.dev/level": "confidential", "finetune.dev/residency": "onprem-a", "finetune.dev/regime.phi": "true"}
GATE = {"improvement": {"metric": "ExactMatch", "minDelta": "0.05"}}
LLAMA = "LicenseRef-scancode-llama-3.1-license-2024"


def follow(site: Site, recipe: str) -> None:
    """Apply the recipe as the file has it, but for this namespace alone: policies are of the whole cluster, which other tests share."""
    document = yaml.safe_load((FOLDER / f"{recipe}.yaml").read_text(encoding="utf-8"))
    spec = document["spec"]
    assert spec["match"].pop("namespaceLabels") == {RECIPE_LABEL: recipe}
    site.demand(recipe, **spec)
    until(lambda: _ready(site, recipe) == "InForce")


def _ready(site: Site, recipe: str) -> str:
    found = site.here.server.request("GET", f"{crd.path_of(GOVERNANCEPOLICY)}/{site.here.namespace}-{recipe}")
    ready: list[dict[str, Any]] = [each for each in (found.get("status") or {}).get("conditions") or [] if each["type"] == "Ready"]
    return str(ready[0]["reason"]) if ready else ""


def under(key: str, category: LicenceCategory) -> BaseModelFindings:
    return BaseModelFindings(licences=(Licence(key=key, category=category),), formats=(WeightsFormat.SAFETENSORS,))


def scan(**found: tuple[int, int]) -> ScanSummary:
    return ScanSummary(profile="Identifiers", entire=True, rows=264, report_digest=DIGEST, found=found)


def told(site: Site, job: str) -> set[str]:
    """The rules of what was found about it."""
    return {finding["rule"] for finding in (site.here.status(job).get("governance") or {}).get("findings") or []}


@contextmanager
def preparing(site: Site, **found: Any) -> Iterator[None]:
    """Prepare pods find this in data and base model; otherwise nothing to find fault with."""
    ending = PodOutcome(termination_message=words("prepare", "", **found))
    with outcomes.played(site.here.bed, PREPARE, ending, name=site.here.namespace, namespace=site.here.namespace):
        yield


def test_every_recipe_is_tested() -> None:
    assert [name for name in globals() if name.startswith("test_recipe_")] == [f"test_recipe_{name.replace('-', '_')}" for name in RECIPES]


def test_recipe_look_first(operator: OperatorProcess, site: Site) -> None:
    here = site.here
    follow(site, "look-first")
    with preparing(site, quality=DataQuality(examples=40, task_minimum=10, duplicates=8, evaluation_overlap=0)):
        site.submit("looked-at")
        assert here.wait_ended("looked-at") == "Succeeded"
    assert told(site, "looked-at") >= {"NotPinned", "ResidencyViolation", "TooFewExamples", "TooManyDuplicates"}
    assert here.condition("looked-at")["status"] == "True"


def test_recipe_models_we_may_ship(operator: OperatorProcess, site: Site) -> None:
    here = site.here
    follow(site, "models-we-may-ship")
    with preparing(site, base_model=under("GPL-3.0-only", LicenceCategory.COPYLEFT)):
        site.submit("denied")
        assert "GPL-3.0-only" in here.wait_reason("denied", "LicenceDenied")["message"]
    with preparing(site, base_model=under(LLAMA, LicenceCategory.PROPRIETARY_FREE)):
        site.submit("looked-at")
        assert "LicenceConditional" in here.wait_reason("looked-at", "AwaitingApproval")["message"]
        site.approve("looked-at", "bob", site.digest("looked-at"), "Waive")
        assert here.wait_ended("looked-at") == "Succeeded"
    with preparing(site):
        site.submit("free")
        assert here.wait_ended("free") == "Succeeded"
    assert told(site, "free") == set()


def test_recipe_no_card_numbers(operator: OperatorProcess, site: Site) -> None:
    here = site.here
    site.label({"finetune.dev/clearance.pci": "true"})
    follow(site, "no-card-numbers")
    with preparing(site, scan=scan(card=(3, 2))):
        site.submit("undeclared")
        here.wait_reason("undeclared", "UndeclaredRegime")
        site.register("cards", uri="pvc://data/cards.jsonl", regimes=["pci"])
        site.submit("declared", dataset__ref={"name": "cards"})
        assert here.wait_ended("declared") == "Succeeded"
    with preparing(site, scan=scan()):
        site.submit("clean")
        assert here.wait_ended("clean") == "Succeeded"


def test_recipe_patients_on_premises(operator: OperatorProcess, site: Site) -> None:
    """As far as the closed network, which fake nodes do not have: tests/e2e has a real one."""
    here = site.here
    site.label({"finetune.dev/clearance.phi": "true", "finetune.dev/residency": "onprem-a"})
    here.add_claim("archive")
    follow(site, "patients-on-premises")
    data = {"level": "confidential", "regimes": ["phi"], "residency": "onprem-a"}
    site.register("loose", uri="pvc://data/notes.jsonl", **data)
    site.submit("hasty", PATIENTS, dataset__ref={"name": "loose"})
    here.wait_reason("hasty", "ResidencyViolation")
    assert told(site, "hasty") >= {"ResidencyViolation", "NotPinned", "JustificationMissing", "NoCompliantNode"}
    site.register("pinned", uri="pvc://archive/notes.jsonl", digest=DIGEST, **data)
    careful = {"dataset__ref": {"name": "pinned"}, "baseModel__digest": DIGEST, "justification": "Summaries of letters."}
    site.submit("careful", PATIENTS, **careful, evaluation__gates=GATE)
    until(lambda: told(site, "careful") == {"NoCompliantNode", "EgressProbeInconclusive"})
    with standing(here.bed, "onprem-a"):
        until(lambda: told(site, "careful") == {"EgressProbeInconclusive"})
    assert here.jobs("careful") == []


def test_recipe_proven_before_published(operator: OperatorProcess, site: Site) -> None:
    here = site.here
    follow(site, "proven-before-published")
    site.submit("unproven")
    here.wait_reason("unproven", "GateMissing")
    with preparing(site, quality=DataQuality(examples=40, task_minimum=10, duplicates=0, evaluation_overlap=0)):
        site.submit("small", evaluation__gates=GATE)
        here.wait_reason("small", "TooFewExamples")
    with preparing(site):
        site.submit("proven", evaluation__gates=GATE)
        here.wait_reason("proven", "AwaitingApproval")
        for approver in ("bob", "eve"):
            site.approve("proven", approver, site.digest("proven"), "Promote")
        assert here.wait_ended("proven") == "Succeeded"
    assert told(site, "proven") == set()


def test_recipe_stays_in_the_eu(operator: OperatorProcess, site: Site) -> None:
    here = site.here
    follow(site, "stays-in-the-eu")
    with standing(here.bed, "eu-de"):
        site.submit("elsewhere", {**DECLARED, "finetune.dev/residency": "onprem-a"})
        assert "onprem-a" in here.wait_reason("elsewhere", "ResidencyViolation")["message"]
        site.submit("inside", {**DECLARED, "finetune.dev/residency": "eu-de"})
        assert here.wait_ended("inside") == "Succeeded"
