"""The small world in mode Merged: Jobs that merge, and servers that come and go with the versions that are to be served."""

from dataclasses import replace
from typing import Any

from finetune_inference.contract import digest_prefix_of
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.domain.children import JobState
from finetune_operator.domain.rollout.observed import HeldState, HeldVersion, JobAttempt, RolloutObserved, ServerPod
from finetune_operator.domain.rollout.plan import RolloutPlan
from finetune_operator.manifests.serving import MergeOrder, build_merge_job, merge_key
from finetune_trainer.contract import FailureClass, MergeSummary, Summary, TerminationMessage
from tests.serving.rollout.jobs_world import OWNER, JobsWorld, ended_pod
from tests.serving.rollout.world import spec
from tests.unit.manifests.serving.samples import SETTINGS

BASE = "sha256:" + "b" * 64
REPLICAS = 2
STEPS = [{"weight": weight, "bakeSeconds": 10} for weight in (5, 20, 40, 60, 80)]


def merged_spec(**changes: Any) -> dict[str, Any]:
    document = spec(**changes)
    document["mode"] = "Merged"
    document["merge"] = {"uri": "pvc://merged/bot"}
    document["baseModel"] = {"uri": "pvc://models/tiny-chat", "digest": BASE}
    document["server"] = {"managed": {"replicas": REPLICAS}}
    document["strategy"] = {"canary": {"steps": STEPS}}
    return document


def merged_digest(adapter: str) -> str:
    """Of the model that a merge with this adapter makes."""
    return "sha256:" + adapter[7:][::-1][:32] + "c" * 32


class MergedWorld(JobsWorld[MergeOrder]):
    """``outcomes`` are how the next merges end, by attempt made; a merge takes one tick.

    ``refusal``: why no more servers can be made; ``barred``: none come, and nobody tells why.
    """

    def __init__(self, document: dict[str, Any] | None = None) -> None:
        super().__init__(document or merged_spec(), pods=0)
        self.rate = 200.0
        self.outcomes: list[FailureClass] = []
        self.barred, self.refusal = False, ""
        self.crowd: list[int] = []
        self.made: dict[str, dict[str, HeldVersion]] = {}

    def observe(self) -> RolloutObserved:
        seen = super().observe()
        pods = tuple(ServerPod(name, tuple(held.values()), serves=name.split(".")[0]) for name, held in self.made.items())
        return RolloutObserved(**{**vars(seen), "pods": pods, "merges": self.attempts(), "refusal": self.refusal})

    def reconcile(self) -> RolloutPlan:
        self.servers()
        plan = super().reconcile()
        if plan.merge is not None:
            self.create(plan.merge, build_merge_job(OWNER, AdapterDeploymentSpec.model_validate(self.spec), plan.merge, SETTINGS))
        self.end(plan)
        return plan

    def servers(self) -> None:
        """As many pods as are asked for of every version that is to be served, and no others."""
        wanted = {digest_prefix_of(each["name"]) for each in self._desired() if "merged" in each}
        if self.barred or self.refusal:
            wanted &= {name.split(".")[0] for name in self.made}
        pods = {f"{digits}.{number}" for digits in wanted for number in range(REPLICAS)}
        self.made = {name: self.made.get(name, {}) for name in sorted(pods)}
        self.crowd.append(len(wanted))

    def agents(self) -> None:
        for each in self._desired():
            for name, held in self.made.items():
                if name.startswith(digest_prefix_of(each["name"])):
                    assert each["merged"]["digest"] == merged_digest(each["digest"]), "an agent checks what it is told"
                    held[each["name"]] = self.refused.get(each["name"], HeldVersion(each["name"], HeldState.LOADED, has_effect=True))

    def tick(self, seconds: float = 10.0) -> None:
        self.merge()
        super().tick(seconds)

    def merge(self) -> None:
        """Every Job that runs ends."""
        for name, (order, attempt) in list(self.jobs.items()):
            if attempt.job.active and not self.stuck:
                outcome = self.outcomes.pop(0) if self.outcomes else FailureClass.DONE
                self.jobs[name] = (order, self._ended(attempt, order, outcome))

    def loaded(self) -> set[str]:
        return {name for held in self.made.values() for name in held}

    def _desired(self) -> list[dict[str, Any]]:
        return list((self.status or {}).get("desired", {}).get("versions", []))

    def _ended(self, attempt: JobAttempt, order: MergeOrder, outcome: FailureClass) -> JobAttempt:
        done = outcome is FailureClass.DONE
        ended = replace(attempt.job, state=JobState.COMPLETE if done else JobState.FAILED, finished_at=self.now)
        return JobAttempt(ended, None if self.lost else ended_pod(ended, _words(order, outcome), 0))


def _words(order: MergeOrder, outcome: FailureClass) -> str:
    summary = MergeSummary(
        uri="pvc://merged/bot/x",
        digest=merged_digest(order.adapter_digest),
        bytes=1,
        base_digest=order.base_digest,
        adapter_digest=order.adapter_digest,
        dtype="F32",
        difference="0.00001",
        tolerance="0.0001",
        effect="0.5",
    )
    done = outcome is FailureClass.DONE
    return TerminationMessage(
        step="merge",
        run_key=merge_key(order.base_digest, order.adapter_digest),
        outcome=outcome,
        reason="Done" if done else "AdapterMisfit",
        message="" if done else "the adapter has weights for which the base has no place",
        hint="" if done else "Merge it into the base it was trained on.",
        summary=Summary(merge=summary) if done else None,
    ).to_json()
