"""Carries out single steps: what the disk lane and the engine lane do, and how each ends. Decides nothing.

A step returns the version's new progress. Errors of the artifact, the disk and the engine become a failure of the version with the time
of the next attempt; anything else is a defect and ends the agent.
"""

import asyncio
import errno
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from finetune_inference.agent.backoff import Backoff
from finetune_inference.agent.decide import Cause, Fetch, Load, Prove
from finetune_inference.agent.fingerprints import Fingerprints
from finetune_inference.agent.knowledge import Failure, Progress, Stage, active_failure
from finetune_inference.agent.metrics import Metrics
from finetune_inference.artifact.compatibility import findings
from finetune_inference.artifact.errors import IntakeError
from finetune_inference.artifact.merged import MergedFolder, verify_merged
from finetune_inference.artifact.reading import adapter_facts, base_facts
from finetune_inference.artifact.record import refusal
from finetune_inference.artifact.store import Store
from finetune_inference.contract import DesiredSet, DesiredVersion, Finding
from finetune_inference.contract.proof import ALTERNATIVES, PROMPT, Tolerances, drift, effect_of, fingerprint, has_effect
from finetune_inference.engine import AdapterEngine, EngineError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Steps:
    """``base_folder`` is the base model's, if it is mounted; ``proceed`` turns false when the agent is asked to stop.

    ``merged``: the model that the engine serves in the place of base and adapter.
    """

    engine: AdapterEngine
    store: Store
    fingerprints: Fingerprints
    metrics: Metrics
    clock: Callable[[], datetime]
    base_folder: Path | None = None
    merged: MergedFolder | None = None
    tolerances: Tolerances = field(default_factory=Tolerances)
    backoff: Backoff = field(default_factory=Backoff)
    proceed: Callable[[], bool] = lambda: True
    rng: random.Random = field(default_factory=random.Random)

    async def fetch(self, step: Fetch, desired: DesiredSet, progress: Progress) -> Progress:
        """Fetch, hash, check. Raises ``Interrupted`` when told to stop."""
        started, effect = time.perf_counter(), progress.effect
        try:
            if self.merged is not None:
                effect = await asyncio.to_thread(verify_merged, self.merged, step.version, desired.base.digest, self.proceed)
                found: tuple[Finding, ...] = ()
            else:
                found = await asyncio.to_thread(self._take, step.version, desired)
        except IntakeError as error:
            return self._failed(step.version, progress, Stage.FETCH, step.basis, error.finding, passing=error.passing)
        except OSError as error:
            return self._failed(step.version, progress, Stage.FETCH, step.basis, _disk_finding(error), passing=True)
        if found:
            return self._failed(step.version, progress, Stage.FETCH, step.basis, found[0], passing=False, found=found)
        self.metrics.fetch_seconds.observe(time.perf_counter() - started)
        log.info("artifact verified", extra={"version": step.version.name})
        return replace(self._cleared(progress, Stage.FETCH), checked=step.basis, effect=effect)

    async def load(self, step: Load, progress: Progress) -> Progress:
        """Hash once more, take away what holds the name, load."""
        progress = replace(progress, proven=None, loaded_at=None, fingerprint=(), effect=None)
        try:
            if not await asyncio.to_thread(self.store.intact, step.version.digest, self.proceed):
                finding = Finding(
                    field="store", reason="StoreDamaged", message="the pod's copy was changed", way_out="Nothing: it is fetched again."
                )
                return replace(self._failed(step.version, progress, Stage.LOAD, step.basis, finding, passing=True), checked=None)
            if step.cause is Cause.REPLACED:
                await self.engine.unload(step.version.name)
            started = time.perf_counter()
            await self.engine.load(step.version.name, step.path)
        except EngineError as error:
            return self._failed(step.version, progress, Stage.LOAD, step.basis, engine_problem(error), passing=True)
        except OSError as error:
            return self._failed(step.version, progress, Stage.LOAD, step.basis, _disk_finding(error), passing=True)
        seconds = time.perf_counter() - started
        self.metrics.load_seconds.observe(seconds)
        if step.cause is not Cause.NEW:
            self.metrics.repairs.labels(step.cause.value).inc()
        log.info("loaded", extra={"version": step.version.name, "cause": step.cause.value, "seconds": round(seconds, 3)})
        return replace(self._cleared(progress, Stage.LOAD), loaded_at=self.clock())

    async def prove(self, step: Prove, progress: Progress) -> Progress:
        """Ask for one token, base before and after; hold the answer to the fingerprint of the first time."""
        if self.merged is not None:
            return await self._prove_merged(step, progress, self.merged)
        try:
            before = await self.engine.first_token(step.base, PROMPT, ALTERNATIVES)
            adapter = await self.engine.first_token(step.version.name, PROMPT, ALTERNATIVES)
            after = await self.engine.first_token(step.base, PROMPT, ALTERNATIVES)
            tokens = fingerprint(adapter)
            kept = await asyncio.to_thread(self.fingerprints.read, step.version.digest, step.base)
            effect, noise = effect_of(adapter, before, after)
            problem = self._judge(step, effect, noise, drift(tokens, kept) if kept else 0.0)
            if problem is not None:
                return self._failed(step.version, progress, Stage.PROVE, step.basis, problem, passing=False, withdraw=True)
            if kept is None:
                await asyncio.to_thread(self.fingerprints.write, step.version.digest, step.base, tokens)
        except EngineError as error:
            return self._failed(step.version, progress, Stage.PROVE, step.basis, engine_problem(error), passing=True)
        except OSError as error:
            return self._failed(step.version, progress, Stage.PROVE, step.basis, _disk_finding(error), passing=True)
        log.info("effect proven", extra={"version": step.version.name, "effect": round(effect, 4)})
        loaded_at = progress.loaded_at or self.clock()
        return replace(progress, proven=step.started, failure=None, fingerprint=tokens, effect=effect, loaded_at=loaded_at)

    async def _prove_merged(self, step: Prove, progress: Progress, place: MergedFolder) -> Progress:
        """There is no base model to compare with.

        The effect is what the merge measured and its record says, under the digest that was checked. One token shows that the engine
        computes, and that it does so as it did the first time.
        """
        try:
            if progress.proven is not None:  # another process of the engine has read the files since
                await asyncio.to_thread(verify_merged, place, step.version, None, self.proceed)
            tokens = fingerprint(await self.engine.first_token(step.version.name, PROMPT, ALTERNATIVES))
            kept = await asyncio.to_thread(self.fingerprints.read, step.version.digest, step.base)
            problem = self._judge(step, progress.effect or 0.0, 0.0, drift(tokens, kept) if kept else 0.0)
            if problem is not None:
                return self._failed(step.version, progress, Stage.PROVE, step.basis, problem, passing=False)
            if kept is None:
                await asyncio.to_thread(self.fingerprints.write, step.version.digest, step.base, tokens)
        except IntakeError as error:
            return self._failed(step.version, progress, Stage.PROVE, step.basis, error.finding, passing=error.passing)
        except EngineError as error:
            return self._failed(step.version, progress, Stage.PROVE, step.basis, engine_problem(error), passing=True)
        except OSError as error:
            return self._failed(step.version, progress, Stage.PROVE, step.basis, _disk_finding(error), passing=True)
        log.info("merged model answers", extra={"version": step.version.name})
        loaded_at = progress.loaded_at or self.clock()
        return replace(progress, proven=step.started, failure=None, fingerprint=tokens, loaded_at=loaded_at)

    async def unload(self, name: str) -> Finding | None:
        """Take a version out of the engine; what stood in the way, if anything did."""
        try:
            await self.engine.unload(name)
        except EngineError as error:
            self.metrics.failures.labels(error.reason).inc()
            log.warning("unload failed", extra={"version": name, "reason": error.reason})
            return engine_problem(error)
        log.info("unloaded", extra={"version": name})
        return None

    def _take(self, version: DesiredVersion, desired: DesiredSet) -> tuple[Finding, ...]:
        proof = desired.proof_of(version)
        if proof is not None:
            unproven = refusal(self.store.record(version.uri, version.digest, proof.public_keys), proof)
            if unproven is not None:
                return (unproven,)
        folder = self.store.fetch(version.uri, version.digest, self.proceed)
        return findings(adapter_facts(folder), base_facts(self.base_folder, desired.base.digest), desired.engine)

    def _judge(self, step: Prove, effect: float, noise: float, apart: float) -> Finding | None:
        if step.require_effect and not has_effect(effect, noise, self.tolerances):
            message = f"the adapter changes the first token's log-probabilities by {effect:.4f}, the engine's own noise is {noise:.4f}"
            way_out = "Train longer or at a higher rate, or check that its module names are the base model's."
            return Finding(field="artifact", reason="NoEffect", message=message, way_out=way_out)
        if apart > self.tolerances.fingerprint:
            message = f"its log-probabilities are {apart:.4f} away from those of the first load in this pod"
            way_out = "Replace the pod. If all pods say so, the engine or the base model's files were changed."
            return Finding(field="artifact", reason="FingerprintChanged", message=message, way_out=way_out)
        return None

    def _failed(
        self,
        version: DesiredVersion,
        progress: Progress,
        stage: Stage,
        basis: str,
        finding: Finding,
        *,
        passing: bool,
        found: tuple[Finding, ...] = (),
        withdraw: bool = False,
    ) -> Progress:
        earlier = active_failure(progress, basis)
        count = (earlier.count if earlier else 0) + 1
        wait = self.backoff.wait(count, self.rng, passing=passing)
        self.metrics.failures.labels(finding.reason).inc()
        log.warning(
            "step failed",
            extra={"version": version.name, "step": stage.value, "reason": finding.reason, "failures": count, "detail": finding.message},
        )
        return replace(progress, failure=Failure(stage, basis, finding, count, self.clock() + wait, found, withdraw))

    def _cleared(self, progress: Progress, stage: Stage) -> Progress:
        return replace(progress, failure=None) if progress.failure is not None and progress.failure.stage is stage else progress


def engine_problem(error: EngineError) -> Finding:
    """An engine's error as a finding."""
    return Finding(field="engine", reason=error.reason, message=error.message[:512], way_out=error.way_out)


def _disk_finding(error: OSError) -> Finding:
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    way_out = "Enlarge the store's volume, or keep fewer versions." if full else "Look at the volume; it is tried again."
    return Finding(field="store", reason="StoreFull" if full else "StorageFailed", message=error.strerror or "an error", way_out=way_out)
