"""``finetune-trainer run``: train, then let base and tuned model answer the same items.

Reads from top to bottom. Every part leaves something sealed behind, so that a pod which is lost in the middle costs at most the steps
since the last checkpoint: a finished training is never repeated because its evaluation was interrupted.
"""

# ruff: noqa: PLC0415 - torch comes late on purpose: what is wrong is told before it is imported

import gc
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from finetune_trainer.cli.egress_options import watch_flags
from finetune_trainer.cli.greeting import greet_judge
from finetune_trainer.cli.probe_egress import opened, tell
from finetune_trainer.cli.reloading import compare, load_artifact
from finetune_trainer.cli.tracking import tell_outcome, tracked
from finetune_trainer.contract import (
    MOST_FILES,
    ArtifactPart,
    Digest,
    EgressReport,
    EvaluationSummary,
    PrepareSummary,
    Stage,
    Step,
    StepResult,
    Summary,
    TrainSummary,
    Verdict,
)
from finetune_trainer.pod.basefiles import verify_base_model
from finetune_trainer.pod.context import StepContext
from finetune_trainer.pod.datamanifest import DataManifest, private_copy, verified_data, verify_schema
from finetune_trainer.pod.egress import EgressGuard
from finetune_trainer.pod.errors import DataError, Stopped
from finetune_trainer.pod.launcher import is_rank, launch, processes_of
from finetune_trainer.pod.progress import ProgressState, decimal, start_progress_server
from finetune_trainer.pod.sealing import seal_result, sealed_result
from finetune_trainer.stages.checkpoints import Checkpoint, CheckpointFolder
from finetune_trainer.stages.defaults import device_of
from finetune_trainer.stages.extra_arguments import check_extra_arguments
from finetune_trainer.stages.fingerprint import fingerprint
from finetune_trainer.stages.processes import Process, this_process
from finetune_trainer.stages.quiet import silence_libraries
from finetune_trainer.stages.totals import Totals, read_totals

if TYPE_CHECKING:
    from finetune_trainer.artifact import Artifact
    from finetune_trainer.evaluation import Candidate


def execute(context: StepContext) -> StepResult | None:
    """Train to a sealed result; None in processes other than the first.

    Raises ``Stopped`` with what is sealed, and the ``StepError`` of whatever went wrong.
    """
    count = processes_of(context.spec)
    check_extra_arguments(context.spec)
    if count > 1 and not is_rank():
        return _launch(context, count)
    silence_libraries()
    process = this_process()
    progress = ProgressState(context.spec.run.key)
    if not process.first:
        return _trained(context, progress, process)
    _serve(context, progress)
    with _guarded(context) as guard:
        try:
            with tracked(context, progress) as told:
                result = _trained(told, progress, process)
        except Stopped as stopped:
            if guard is not None and guard.open and context.evidence.egress is not None:
                raise opened(context.evidence.egress) from stopped
            raise
        return result


@contextmanager
def _guarded(context: StepContext) -> Iterator[EgressGuard | None]:
    """Egress is tried again while the step lasts; an answer asks for the stop that a signal would ask for, and a checkpoint is sealed."""
    watch = context.options.egress
    if watch is None:
        yield None
        return

    def heard(report: EgressReport) -> None:
        context.evidence.egress = report
        tell(report, context.events)

    guard = EgressGuard(watch, heard, context.stop.request)
    guard.start()
    try:
        yield guard
    finally:
        guard.end()


def _trained(context: StepContext, progress: ProgressState, process: Process) -> StepResult | None:
    count = processes_of(context.spec)
    prepared = _prepared(context)
    context, data = _own_data(context)
    context.events.emit("data_verified", digest=data.content_digest())
    if process.first:  # one reader is enough: the others wait for the first one before they train
        sealed = context.options.sealed
        verify_base_model(context.workspace.base_model(context.spec), sealed.base if sealed is not None else prepared.base_digest)
        context.events.emit("base_model_verified", digest=prepared.base_digest)
        if schema := _agreed_schema(context):  # long before the evaluation reads it, and looks again
            verify_schema(*schema)
    checkpoints = CheckpointFolder(
        context.workspace.checkpoints,
        fingerprint(
            context.spec,
            data_digest=data.content_digest(),
            base_digest=prepared.base_digest,
            device=device_of(context.spec),
            processes=count,
        ),
        context.spec.checkpoint.keep,
    )
    trained = checkpoints.trained()
    if trained is None and process.first:
        greet_judge(context)
    resumed = trained.step if trained else _train(context, progress, checkpoints, prepared, process)
    if not process.first:
        return None
    trained = trained or checkpoints.trained()
    assert trained is not None
    context.evidence.checkpoint, context.evidence.last_step = trained.sealed, trained.step
    _leave_if_asked_to(context, trained)
    return _evaluate_and_seal(context, progress, prepared, trained, resumed)


def _launch(context: StepContext, count: int) -> StepResult | None:
    """Be the launcher: rank 0 writes result and last word; only its exit code is passed on."""
    code = launch(_same_step(context), count, stop=context.stop, events=context.events)
    if code:
        raise SystemExit(code)
    return sealed_result(context.workspace, context.spec, Step.TRAIN)


def _same_step(context: StepContext) -> list[str]:
    """The command line of this very step, for the ranks."""
    options = {"--spec": context.spec_path, "--workspace": context.workspace.root, "--attempt": context.attempt}
    if context.options.micro_batch_size is not None:
        options["--micro-batch-size"] = context.options.micro_batch_size
    flags = [text for name, value in options.items() for text in (name, str(value))]
    if context.options.sealed is not None:
        flags += ["--data-digest", context.options.sealed.data, "--base-digest", context.options.sealed.base]
    flags += watch_flags(context.options.egress) if context.options.egress is not None else []
    return [sys.executable, "-m", "finetune_trainer.cli.main", "run", *flags]


def _serve(context: StepContext, progress: ProgressState) -> None:
    """Progress is a convenience: training goes on without it."""
    try:
        server = start_progress_server(progress, context.spec.progress.token_digest)
    except OSError as error:
        context.events.emit("warning", reason="ProgressPortTaken", message=f"no progress server: {error.strerror}")
    else:
        context.events.emit("progress_server", port=server.server_address[1])


def _prepared(context: StepContext) -> PrepareSummary:
    """What the prepare step found out; raises ``DataError`` if it has not run."""
    result = sealed_result(context.workspace, context.spec, Step.PREPARE)
    if result is None or result.summary.prepare is None:
        raise DataError(
            "NotPrepared", "the work folder holds no result of this run's prepare step", "Run `finetune-trainer prepare` first."
        )
    return result.summary.prepare


def _own_data(context: StepContext) -> tuple[StepContext, DataManifest]:
    """The sealed dataset; where its digest is prescribed, as a copy of this process alone, which ends with the container."""
    if context.options.sealed is None:
        return context, verified_data(context.workspace)
    folder = Path(tempfile.mkdtemp(prefix="dataset-"))
    workspace = private_copy(context.workspace, context.options.sealed.data, folder)
    return replace(context, workspace=workspace), verified_data(workspace)


def _agreed_schema(context: StepContext) -> tuple[bytes, Digest] | None:
    """The output schema as it is now, and the digest that was agreed to together with the rows; None where nothing was agreed to.

    A ConfigMap can be changed by whoever may write one, and with it what an adapter has to do to pass its gate.
    """
    path = context.spec.task.output_schema_path
    if context.options.sealed is None or path is None:
        return None
    sealed = DataManifest.from_json(context.workspace.data_manifest.read_bytes()).schema_digest
    return (Path(path).read_bytes(), sealed) if sealed is not None else None


def _micro_batch_size(context: StepContext, prepared: PrepareSummary) -> int:
    return context.options.micro_batch_size or context.spec.training.micro_batch_size or prepared.micro_batch_size


def _train(
    context: StepContext, progress: ProgressState, checkpoints: CheckpointFolder, prepared: PrepareSummary, process: Process
) -> int | None:
    """Train to the end; returns the step that this attempt resumed from."""
    found = checkpoints.newest()
    for reason in found.skipped:
        context.events.emit("checkpoint_skipped", reason=reason)
    context.evidence.skipped_checkpoints[:] = found.skipped
    if found.newest is not None:
        context.evidence.checkpoint, context.evidence.last_step = found.newest.sealed, found.newest.step
        context.events.emit("resuming", step=found.newest.step, digest=found.newest.digest)
    progress.enter("LoadingModel")
    context.events.emit("phase", phase="LoadingModel")
    from finetune_trainer.stages.continued_pretraining import CONTINUED_PRETRAINING
    from finetune_trainer.stages.reporting import Reporter, Silence
    from finetune_trainer.stages.sft import SFT
    from finetune_trainer.stages.training import Training, train

    training = Training(
        spec=context.spec,
        workspace=context.workspace,
        stage=SFT if context.spec.stage is Stage.SFT else CONTINUED_PRETRAINING,
        checkpoints=checkpoints,
        process=process,
        micro_batch_size=_micro_batch_size(context, prepared),
        listener=Reporter(progress, context.events, context.evidence, tracker=context.tracker) if process.first else Silence(),
        stop_requested=lambda: context.stop.requested,
        deferred=context.stop.deferred,
    )
    train(training, found.newest)
    del training
    gc.collect()  # model and optimizer make way for the evaluation
    return found.newest.step if found.newest else None


def _leave_if_asked_to(context: StepContext, trained: Checkpoint) -> None:
    """Raise ``Stopped`` for a stop that was only noted while the trained model was sealed; from here on a stop ends the process at once."""
    if context.stop.requested:
        raise Stopped(
            "Stopped",
            f"asked to stop; the model trained to its end, step {trained.step}, is sealed",
            "Resume, or let the operator start the next attempt: it evaluates without training again.",
        )


def _evaluate_and_seal(
    context: StepContext, progress: ProgressState, prepared: PrepareSummary, trained: Checkpoint, resumed: int | None
) -> StepResult:
    from finetune_trainer.artifact import assemble, is_promotable
    from finetune_trainer.artifact.documents import describe, vouching
    from finetune_trainer.stages.model import load_tokenizer
    from finetune_trainer.stages.probe import read_probe

    spec, workspace = context.spec, context.workspace
    progress.enter("Saving")
    probe = read_probe(trained.path)
    tokenizer = load_tokenizer(workspace.base_model(spec))
    artifact = assemble(workspace, spec, saved=trained.path, tokenizer=tokenizer, base_digest=prepared.base_digest)
    context.events.emit("artifact_assembled", digest=artifact.digest)
    progress.enter("Evaluating")
    context.events.emit("phase", phase="Evaluating")
    candidate = load_artifact(context)
    compared = compare(context, candidate, probe)
    compared.write(workspace.out_meta)
    assert compared.difference is not None
    evaluation = _evaluate(context, progress, candidate)
    context.events.emit("evaluated", verdict=evaluation.verdict.value, items=evaluation.items, message=evaluation.message)
    early_stopping = spec.training.early_stopping_patience is not None
    summary = _summary(read_totals(trained.path), artifact.digest, compared.difference, resumed, evaluation, early_stopping=early_stopping)
    describe(workspace.out_meta, spec, artifact, prepared, summary, promotable=is_promotable(evaluation, spec))
    summary = summary.model_copy(update={"files": _parts(artifact, MOST_FILES), "documents": vouching(workspace.out_meta)})
    tell_outcome(context, summary)
    progress.enter("Done")
    _leave_if_asked_to(context, trained)
    return seal_result(workspace, spec, Step.TRAIN, Summary(train=summary))


def _evaluate(context: StepContext, progress: ProgressState, candidate: "Candidate") -> EvaluationSummary:
    """Base against tuned on the sealed items; without items there is nothing to say, and no gate to pass."""
    from finetune_trainer.evaluation import evaluate
    from finetune_trainer.stages.model import load_tokenizer

    spec, workspace = context.spec, context.workspace
    if not workspace.evaluation_items.exists():
        gated = spec.evaluation.improvement is not None
        verdict = Verdict.INCONCLUSIVE if gated else Verdict.NOT_GATED
        return EvaluationSummary(verdict=verdict, items=0, message="no rows are held out to evaluate on")
    schema = _agreed_schema(context)
    return evaluate(
        candidate,
        load_tokenizer(workspace.base_model(spec)),
        spec,
        items_path=workspace.evaluation_items,
        report_folder=workspace.out_meta,
        stop=lambda: context.stop.requested,
        progress=progress.items,
        keep_examples=context.options.sealed is None,
        schema_digest=schema[1] if schema is not None else None,
    )


def _summary(
    totals: Totals, digest: str, difference: float, resumed: int | None, evaluation: EvaluationSummary, *, early_stopping: bool
) -> TrainSummary:
    """``evaluation_loss`` is that of the weights that count: the best ones with early stopping, else the last."""
    loss = totals.best_loss if early_stopping else totals.evaluation_loss
    return TrainSummary(
        steps=totals.step,
        epoch=decimal(totals.epoch),
        loss=decimal(totals.loss),
        evaluation_loss=None if loss is None else decimal(loss),
        tokens=totals.tokens,
        seconds=round(totals.seconds),
        adapter_digest=digest,
        reload_difference=decimal(difference),
        resumed_from_step=resumed,
        evaluation=evaluation,
    )


def _parts(found: "Artifact", most: int) -> list[ArtifactPart]:
    """The files by name; none where the last word of a pod could not hold them."""
    if len(found.files) > most or any(len(file.name) > 128 for file in found.files):
        return []
    return [ArtifactPart(name=file.name, digest=file.digest) for file in found.files]
