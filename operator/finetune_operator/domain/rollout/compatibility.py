"""Can this server serve that adapter, as far as the record of its run tells? Asked before any pod is touched.

The record is what the FineTuneJob's status remembers: uri and digest of the base model, and the tuner while the job's spec is the run's.
What it does not tell is not judged here, and of the base model that is said (`not_compared`). Agents judge the files themselves; those of a
typed uri a Job reads before (`checking`).
"""

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec, Engine
from finetune_operator.domain.rollout.observed import ArtifactRecord
from finetune_trainer.contract import TunerType


def incompatibility(spec: AdapterDeploymentSpec, record: ArtifactRecord) -> str | None:
    """Field, reason and way out, or None."""
    wrong_base = _another_base(spec, record)
    if wrong_base is not None:
        return wrong_base
    if record.tuner == TunerType.FULL.value:
        return "spec.adapter is a whole model (tuner Full), no adapter. Train with tuner LoRA, or serve the model by itself."
    if spec.merged:
        return None  # what can be merged the trainer knows, and what comes of it is no adapter any more
    limit = spec.server.capacity.max_lora_rank
    if record.rank is not None and record.rank > limit:
        return (
            f"spec.server.capacity.maxLoraRank is {limit}, and the adapter has rank {record.rank}. "
            "Raise it with the engine's own limit, or train with a lower rank."
        )
    return _not_for_vllm(record) if _engine_of(spec) is Engine.VLLM else None


def not_compared(spec: AdapterDeploymentSpec, record: ArtifactRecord) -> str:
    """What is not known of the base model beneath the adapter, in words; empty where digests were compared."""
    wanted = spec.base_model.digest
    if not (record.base_digest or record.base_uri):
        by_others = " here, and is by whoever reads the adapter's files" if wanted is not None else ": spec.baseModel.digest is not set"
        return f"no run is known that has made the adapter, so the base model that it was trained on was not compared{by_others}"
    if wanted is not None and record.base_digest:
        return ""
    if record.base_uri == spec.base_model.uri:
        return "the base model is at the uri of the one that the adapter was trained on; their digests were not compared"
    return "the record of the run that has made the adapter lacks uri or digest of its base model, which was not compared"


def _another_base(spec: AdapterDeploymentSpec, record: ArtifactRecord) -> str | None:
    """By digest; by uri where nobody has said which digest is served."""
    served = spec.base_model
    if served.digest is not None:
        if record.base_digest in ("", served.digest):
            return None
        return (
            f"spec.baseModel.digest is {short_digest(served.digest)}, and the adapter was trained on {short_digest(record.base_digest)}. "
            "Serve that base model, or deploy an adapter of this one."
        )
    if record.base_uri in ("", served.uri) or not record.base_digest:
        return None
    return (
        f"spec.baseModel.uri is {served.uri}, and the adapter was trained on {record.base_uri}. Serve that base model; "
        f"or, if both are the same, say so: set spec.baseModel.digest to {record.base_digest}."
    )


def _not_for_vllm(record: ArtifactRecord) -> str | None:
    way_out = "Deploy it with mode: Merged, serve it with server.managed.engine Transformers, or train it again with tuner LoRA"
    if record.tuner == TunerType.DORA.value:
        return f"spec.server runs vLLM, which serves no DoRA. {way_out}."
    if record.saves_modules:
        return f"spec.server runs vLLM, which serves no whole modules (modulesToSave). {way_out} and without modulesToSave."
    return None


def _engine_of(spec: AdapterDeploymentSpec) -> Engine:
    """What the user runs himself is vLLM."""
    return spec.server.managed.engine if spec.server.managed is not None else Engine.VLLM


def short_digest(digest: str) -> str:
    """As people compare digests."""
    return digest.removeprefix("sha256:")[:12]
