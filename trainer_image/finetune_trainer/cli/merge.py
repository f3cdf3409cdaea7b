"""``finetune-trainer merge``: base model and adapter become one model that an engine without adapters can serve.

What can be refused is refused first: from the configs before torch is imported, by digest before a weight is loaded. The model that is
compared is the one loaded again from the files, and only what passed gets its name. A stop may come at any moment: it costs this attempt.
"""

# ruff: noqa: PLC0415 - torch comes late on purpose: what is wrong is told before it is imported

import gc
from pathlib import Path

from finetune_trainer.artifact.contents import inspect
from finetune_trainer.contract import MergeRequest, MergeSummary, StepResult, Summary
from finetune_trainer.merging.description import merge_record, part_embeddings, take_configs, write_facts
from finetune_trainer.merging.inputs import Inputs, read_inputs, verify_digests
from finetune_trainer.merging.publication import STEP, alone, finished, publish_merged, refuse_small_disk, staging
from finetune_trainer.pod.allocator import return_freed_blocks
from finetune_trainer.pod.events import EventLog
from finetune_trainer.pod.progress import decimal
from finetune_trainer.pod.resources import free_bytes
from finetune_trainer.pod.sealing import sync_file, sync_folder
from finetune_trainer.stages.quiet import silence_libraries


def execute(request: MergeRequest, attempt: int, events: EventLog) -> StepResult:
    """Merge, compare, publish; or answer from what an earlier attempt finished. Raises the ``StepError`` of whatever went wrong."""
    with alone(request):
        result = finished(request)
        if result is not None:
            events.emit("answered_from_sealed_result", step=STEP)
            return result
        inputs = read_inputs(request)
        needed = inputs.weight_bytes + inputs.adapter_bytes
        refuse_small_disk(Path(request.out_path), needed, free_bytes(Path(request.out_path)))
        verify_digests(request)
        events.emit("inputs_verified", base=request.base_digest, adapter=request.adapter_digest, dtype=inputs.dtype, bytes=needed)
        with staging(request, attempt) as staged:
            return _merge(request, inputs, staged, events)


def _merge(request: MergeRequest, inputs: Inputs, staged: Path, events: EventLog) -> StepResult:
    silence_libraries()
    return_freed_blocks(inputs.weight_bytes)
    from finetune_trainer.data.base_model import read_licence
    from finetune_trainer.merging.weights import compare_reloaded, load_adapted, merge, refer, write_weights
    from finetune_trainer.stages.model import load_tokenizer

    take_configs(inputs, staged)
    tokenizer = load_tokenizer(staged)
    licence = (inputs.facts.base.licence if inputs.facts else None) or read_licence(inputs.base)
    write_facts(inputs, request, staged, tokenizer, licence)
    events.emit("phase", phase="LoadingModel")
    adapted = load_adapted(inputs.base, inputs.adapter, inputs.dtype)
    reference = refer(adapted, tokenizer, inputs.dtype)
    events.emit("phase", phase="Merging")
    merged = merge(adapted)
    events.emit("phase", phase="Saving")
    write_weights(merged, staged)
    if merged.parted:
        part_embeddings(staged)
    del adapted, merged
    gc.collect()  # one model in memory at a time
    events.emit("phase", phase="Comparing")
    probe = compare_reloaded(staged, inputs.dtype, reference)
    for path in staged.iterdir():
        sync_file(path)
    sync_folder(staged)
    artifact = inspect(staged)
    summary = MergeSummary(
        uri=f"{request.out_uri.rstrip('/')}/{artifact.hex}" if request.out_uri else artifact.hex,
        digest=artifact.digest,
        bytes=artifact.bytes,
        base_digest=request.base_digest,
        adapter_digest=request.adapter_digest,
        dtype=inputs.dtype,
        difference=decimal(probe.difference or 0.0),
        tolerance=decimal(probe.tolerance),
        effect=decimal(reference.effect),
    )
    result = StepResult(step=STEP, run_key=request.key, spec_digest=request.identity, summary=Summary(merge=summary))
    record = merge_record(inputs, request, artifact, summary, licence)
    publish_merged(request, staged, artifact, record=record, result=result, probe=probe.to_json())
    events.emit("merged", digest=artifact.digest, bytes=artifact.bytes, difference=probe.difference, effect=reference.effect)
    return result
