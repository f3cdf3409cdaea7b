"""The small world with a typed uri: Jobs that read the files before any server hears of them, and servers that are made after it."""

from dataclasses import replace
from typing import Any

from finetune_inference.contract import Finding, PreflightResult
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.domain.children import Job, JobState, Pod
from finetune_operator.domain.rollout.checking import awaits_check
from finetune_operator.domain.rollout.observed import JobAttempt, RolloutObserved
from finetune_operator.domain.rollout.plan import RolloutPlan
from finetune_operator.manifests.serving import CheckOrder, build_check_job
from tests.serving.rollout.jobs_world import OWNER, JobsWorld, ended_pod
from tests.serving.rollout.world import ONE, spec
from tests.unit.manifests.serving.samples import SETTINGS

PICKLE = Finding(
    field="adapter_model.bin", reason="PickleRefused", message="loading it can run code", way_out="Save it again as safetensors."
)
RANK = Finding(field="adapter_config.json:r", reason="RankTooHigh", message="it has rank 128", way_out="Raise maxLoraRank.")


def typed_spec(digest: str = ONE, **changes: Any) -> dict[str, Any]:
    document = spec(preflight__requireEvaluation=False, **changes)
    document["adapter"] = {"uri": f"pvc://adapters/{digest[7:]}", "digest": digest}
    return document


class CheckedWorld(JobsWorld[CheckOrder]):
    """``verdicts`` are what the next checks find, or the exit codes without a word; none finds nothing. A check takes one tick.

    ``server_pods`` appear once nothing speaks against making servers, as the operator makes them then.
    """

    def __init__(self, document: dict[str, Any] | None = None, *, checks: bool = True) -> None:
        super().__init__(document or typed_spec())
        self.server_pods, self.pods = self.pods, {}
        self.checks = checks
        self.verdicts: list[tuple[Finding, ...] | int] = []
        self.evicted = False

    def type(self, digest: str) -> None:
        """A person edits the uri and digest."""
        self.change(adapter={"uri": f"pvc://adapters/{digest[7:]}", "digest": digest})

    def observe(self) -> RolloutObserved:
        seen = super().observe()
        return replace(seen, job=None, checks=self.attempts(), settings=replace(seen.settings, checks_files=self.checks))

    def reconcile(self) -> RolloutPlan:
        if not (self.status or {}).get("desired") and not awaits_check(self.observe()):
            self.pods = self.server_pods
        plan = super().reconcile()
        if plan.check is not None:
            self.create(plan.check, build_check_job(OWNER, AdapterDeploymentSpec.model_validate(self.spec), plan.check, SETTINGS))
        self.end(plan)
        return plan

    def tick(self, seconds: float = 10.0) -> None:
        for name, (order, attempt) in list(self.jobs.items()):
            if attempt.job.active and not self.stuck:
                self.jobs[name] = (order, self._ended(attempt, order, self.verdicts.pop(0) if self.verdicts else ()))
        super().tick(seconds)

    def _ended(self, attempt: JobAttempt, order: CheckOrder, verdict: tuple[Finding, ...] | int) -> JobAttempt:
        code = verdict if isinstance(verdict, int) else 3 * bool(verdict)
        job = replace(attempt.job, state=JobState.FAILED if code else JobState.COMPLETE, finished_at=self.now)
        if self.lost:
            return JobAttempt(job)
        said = (
            "the volume is away: Input/output error"
            if isinstance(verdict, int)
            else PreflightResult.of(order.digest, verdict, 4096).to_json()
        )
        return JobAttempt(job, self.pod(job, said, code))

    def pod(self, job: Job, said: str, code: int | None) -> Pod:
        return ended_pod(job, said, code, "the node is drained" if self.evicted else None)
