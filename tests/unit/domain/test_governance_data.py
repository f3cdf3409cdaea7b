"""What prepare finds in the rows is decided upon before anything is trained: rows to review, quality, identifiers."""

from typing import Any

import pytest

from finetune_trainer.contract import DataQuality, NameModel, ScanSummary
from tests.unit.domain.governed import DIGEST, GOVERNED, LABELS, approval, dataset, policy, registered, told, view, world
from tests.unit.domain.samples import words
from tests.unit.domain.world import World


class TestReview:
    DEMAND = policy(review={"rows": 50})

    def test_training_waits_until_somebody_else_has_looked_at_the_rows_drawn(self) -> None:
        job = world(view(self.DEMAND))
        job.step_through()
        message = told(job, "Ready")[2]
        assert told(job, "Ready")[1] == "AwaitingApproval"
        for word in ("approve-review", "ReviewPending", "the first 50 rows of report 'sha256:4e4e"):
            assert word in message
        assert [name for name in job.created if "train" in name] == []
        digest = (job.status or {})["governance"]["digest"]
        for wrong in (approval("ann", digest, stage="Review"), approval("bob", DIGEST, stage="Review"), approval("bob", digest)):
            job.governance = view(self.DEMAND, approvals=(wrong,))
            job.settle()
            assert told(job, "Ready")[1] == "AwaitingApproval"
        job.governance = view(self.DEMAND, approvals=(approval("bob", digest, stage="Review"),))
        job.settle()
        job.finish()
        assert told(job, "Ready")[1] == "RunSucceeded"

    def test_a_review_is_no_approval_of_the_training(self) -> None:
        both = policy(review={"rows": 50}, approvals=[{"stage": "Train"}])
        job = world(view(both))
        job.step_through()
        assert "approve-train and approve-review" in told(job, "Ready")[2]
        digest = (job.status or {})["governance"]["digest"]
        job.governance = view(both, approvals=(approval("bob", digest, stage="Review"),))
        job.settle()
        assert "approve-train finetunejobs" in told(job, "Ready")[2]

    def test_without_governance_nothing_of_it_is_in_status(self) -> None:
        job = world(None)
        job.finish()
        assert "review" not in (job.status or {})["dataset"]


class TestQuality:
    """The data of the sample: 240 examples, 200 are the least for the task, 12 repeat others (5 %), no item is among them."""

    @pytest.mark.parametrize(
        ("demand", "rule"),
        [
            ({}, None),
            ({"minExamples": 240}, None),
            ({"minExamples": 241}, "TooFewExamples"),
            ({"maxDuplicatePercent": 5}, None),
            ({"maxDuplicatePercent": 4}, "TooManyDuplicates"),
        ],
        ids=["nothing asked", "just enough", "one too few", "just few enough", "too many of the same"],
    )
    def test_data_that_fall_short_are_not_trained_on(self, demand: dict[str, Any], rule: str | None) -> None:
        job = world(view(policy(quality=demand)))
        job.step_through()
        if rule is None:
            assert told(job, "Governed")[0] == "True"
            return
        assert told(job, "Ready")[:2] == ("False", rule)
        assert [name for name in job.created if "train" in name] == []

    @pytest.mark.parametrize(
        ("found", "demand", "rule"),
        [
            ({"task_minimum": 1000}, {}, "TooFewExamples"),
            ({"evaluation_overlap": 2}, {"maxEvaluationOverlap": 2}, None),
            ({"evaluation_overlap": 3}, {"maxEvaluationOverlap": 2}, "EvaluationOverlap"),
            ({"evaluation_overlap": 3}, {"maxEvaluationOverlap": 2, "waivable": True}, "AwaitingApproval"),
        ],
        ids=["below the task's minimum", "overlap within bounds", "overlap", "overlap that can be waived"],
    )
    def test_what_prepare_counts_decides(self, found: dict[str, int], demand: dict[str, Any], rule: str | None) -> None:
        counts = {"examples": 240, "task_minimum": 200, "duplicates": 0, "evaluation_overlap": 0, **found}
        job = world(view(policy(quality=demand)))
        job.run_pod()
        job.settle()
        job.end_pod(message=words("prepare", job.run["key"], quality=DataQuality(**counts)))
        job.settle()
        assert told(job, "Governed")[0] == ("True" if rule is None else "False")
        assert rule is None or told(job, "Ready")[1] == rule

    def test_two_people_waive_a_shortfall_where_the_policy_lets_them(self) -> None:
        demand = policy(quality={"minExamples": 1000, "waivable": True})
        job = world(view(demand))
        job.step_through()
        assert told(job, "Ready")[1] == "AwaitingApproval"
        digest = (job.status or {})["governance"]["digest"]
        given = [approval(name, digest, stage="Waive") for name in ("bob", "eve")]
        job.governance = view(demand, approvals=given)
        job.settle()
        job.finish()
        assert told(job, "Ready")[1] == "RunSucceeded"
        assert "TooFewExamples" in told(job, "Governed")[2]

    def test_without_governance_nothing_of_it_is_in_status(self) -> None:
        job = world(None)
        job.finish()
        assert "quality" not in (job.status or {})["dataset"]


class TestScan:
    """Rows 10 to 12: what prepare has found in the rows is decided upon before anything is trained."""

    def scanned(self, entire: bool = True, profile: str = "Identifiers", **found: tuple[int, int]) -> ScanSummary:
        kinds = {name.replace("_", "-"): counts for name, counts in found.items()}
        return ScanSummary(profile=profile, entire=entire, rows=264, report_digest=DIGEST, found=kinds)

    def prepared(self, job: World, scan: ScanSummary | None) -> World:
        job.end_pod(message=words("prepare", job.run["key"], scan=scan))
        job.settle()
        return job

    def trains(self, job: World) -> bool:
        return any(made["metadata"]["labels"]["finetune.dev/step"] == "train" for made in job.jobs.values())

    def test_what_is_declared_goes_on_and_what_is_not_is_denied_with_the_kind_and_the_remedy(self) -> None:
        cleared = {**GOVERNED, "finetune.dev/clearance.pii": "true"}
        declared = {**LABELS, "finetune.dev/regime.pii": "true"}
        denied = self.prepared(world(view(policy(), labels=cleared)), self.scanned(ssn=(3, 2)))
        assert told(denied, "Ready")[:2] == ("False", "UndeclaredRegime")
        assert told(denied, "Governed")[:2] == ("False", "UndeclaredRegime")
        assert "scan.ssn" in told(denied, "Ready")[2]
        assert "new record with the regime" in told(denied, "Ready")[2]
        assert not self.trains(denied)
        assert self.trains(self.prepared(world(view(policy(), labels=cleared), declared), self.scanned(ssn=(3, 2))))

    def test_a_raised_regime_counts_against_the_clearance(self) -> None:
        job = self.prepared(world(view(policy())), self.scanned(card=(1, 1)))
        assert {"UndeclaredRegime", "NamespaceNotCleared"} <= {each["rule"] for each in (job.status or {})["governance"]["findings"]}

    def test_what_only_looks_like_one_denies_nothing(self) -> None:
        assert self.trains(self.prepared(world(view(policy())), self.scanned(ssn=(3, 0), email=(40, 0), date=(9, 0))))

    @pytest.mark.parametrize(("found", "reason"), [({"npi": (1, 1)}, "UndeclaredRegime"), ({"mri": (1, 1)}, "")])
    def test_a_kind_that_only_another_release_knows_denies_nothing_but_makes_the_scan_less_than_entire(
        self, found: dict[str, tuple[int, int]], reason: str
    ) -> None:
        assert told(self.prepared(world(view(policy())), self.scanned(**found)), "Ready")[1] != "UndeclaredRegime" or reason
        asking = self.prepared(world(view(policy(scan="Identifiers"))), self.scanned(**found))
        assert ("ScanCoverageGap" in told(asking, "Ready")[2]) == (not reason)

    @pytest.mark.parametrize(
        ("claims", "found", "reason", "rule"),
        [
            (True, {"ssn": (2, 1)}, "DeidentificationRefuted", "DeidentificationRefuted"),
            (False, {"ssn": (2, 1)}, "", ""),
            (True, {"date": (4, 0)}, "AwaitingApproval", "DeidentificationDoubtful"),
            (False, {"date": (4, 0)}, "", ""),
            (True, {"person": (4, 0)}, "AwaitingApproval", "DeidentificationDoubtful"),
            (True, {"place": (4, 0)}, "AwaitingApproval", "DeidentificationDoubtful"),
            (False, {"person": (4, 0), "place": (4, 0), "organisation": (4, 0)}, "", ""),
            (True, {}, "", ""),
            (True, {"secret": (1, 0)}, "AwaitingApproval", "SecretInData"),
        ],
    )
    def test_a_claim_of_safe_harbor_is_refuted_by_a_checksum_and_doubted_by_a_form(
        self, claims: bool, found: dict[str, tuple[int, int]], reason: str, rule: str
    ) -> None:
        record = dataset(regimes=["phi"], claimsSafeHarbor=claims)
        job = self.prepared(registered(view(policy(), datasets=(record,))), self.scanned(**found))
        assert self.trains(job) == (not reason)
        if reason:
            assert told(job, "Ready")[1] == reason
            assert rule in told(job, "Ready")[2]

    def test_a_waiver_lets_pass_what_is_doubtful_and_not_what_is_refuted(self) -> None:
        record = dataset(regimes=["phi"], claimsSafeHarbor=True)
        for found, passes in (({"date": (4, 0)}, True), ({"ssn": (4, 1)}, False)):
            job = self.prepared(registered(view(policy(), datasets=(record,))), self.scanned(**found))
            digest = (job.status or {})["governance"]["digest"]
            waivers = [approval(name, digest, stage="Waive") for name in ("bob", "eve")]
            job.governance = view(policy(), datasets=(record,), approvals=waivers)
            job.settle()
            assert self.trains(job) == passes

    @pytest.mark.parametrize(
        ("level", "scan", "gap"),
        [
            ("internal", {}, False),
            ("internal", None, True),
            ("internal", {"entire": False}, True),
            ("internal", {"profile": "Clairvoyance"}, True),
            ("restricted", {}, True),
            ("restricted", {"profile": "IdentifiersAndNames"}, False),
        ],
    )
    def test_a_policy_that_asks_for_a_scan_is_told_of_every_gap(self, level: str, scan: dict[str, Any] | None, gap: bool) -> None:
        asks = {"scan": "IdentifiersAndNames" if level == "restricted" else "Identifiers"}
        demand = policy(zones=["*"], dataSources=["*"], requireDigests=False, egress="Open", licences={"allow": ["*"]}, **asks)
        labels = {**LABELS, "finetune.dev/level": level}
        job = registered(view(demand, datasets=(dataset(level=level),)), labels)
        self.prepared(job, None if scan is None else self.scanned(**scan))
        assert ("ScanCoverageGap" in told(job, "Governed")[2]) == gap, told(job, "Governed")
        assert self.trains(job) == (not gap)
        if level == "restricted" and gap:
            assert "the trainer image needs a model that finds names" in told(job, "Governed")[2]

    def test_counts_are_in_status_with_and_without_governance(self) -> None:
        for seen in (None, view(policy())):
            job = self.prepared(world(seen), self.scanned(email=(40, 0), date=(9, 0)))
            found = (job.status or {})["dataset"]["scan"]
            assert [each["entity"] for each in found["found"]] == ["date", "email"]
            assert (found["profile"], found["entire"], found["rows"]) == ("Identifiers", True, 264)
            assert "nameModel" not in found

    def test_who_looked_for_names_is_in_status(self) -> None:
        model = {"name": "en_site_names", "version": "1.2.3", "digest": DIGEST}
        scan = self.scanned(profile="IdentifiersAndNames", person=(3, 0)).model_copy(update={"name_model": NameModel(**model)})
        job = self.prepared(world(None), scan)
        assert (job.status or {})["dataset"]["scan"]["nameModel"] == model

    def test_without_governance_identifiers_hold_up_nothing(self) -> None:
        plain, clean = (self.prepared(world(None), scan) for scan in (self.scanned(card=(9, 9), secret=(1, 0)), None))
        for job in (plain, clean):
            job.finish()
            assert told(job, "Ready")[1] == "RunSucceeded"
        assert plain.writes == clean.writes
