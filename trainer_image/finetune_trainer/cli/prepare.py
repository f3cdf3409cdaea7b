"""``finetune-trainer prepare``: everything that can be found out, refused or sealed before a node with an accelerator is asked for."""

from finetune_trainer.contract import Lora, PrepareSummary, RunSpec, Step, StepResult, Summary
from finetune_trainer.data.base_model import BaseModel, check_base_model
from finetune_trainer.data.declared import check_declared
from finetune_trainer.data.hub import fetch_base_model
from finetune_trainer.data.notices import keep_notices
from finetune_trainer.data.preparation import PreparedData, prepare_data
from finetune_trainer.estimate.plan import Lengths, RunPlan, plan_run
from finetune_trainer.estimate.shape import ModelShape, read_shape
from finetune_trainer.pod.context import StepContext
from finetune_trainer.pod.errors import ConfigurationError
from finetune_trainer.pod.progress import ProgressState, start_progress_server
from finetune_trainer.pod.resources import cpu_count, free_bytes
from finetune_trainer.pod.sealing import seal_result
from finetune_trainer.stages.extra_arguments import check_extra_arguments
from finetune_trainer.stages.schedule import plan_schedule


def execute(context: StepContext) -> StepResult | None:
    """Check the declared, the base model and the data; write and seal rows, report and estimate."""
    spec = context.spec
    check_declared(spec)
    check_extra_arguments(spec)
    _serve(context)
    base = _base_model(context)
    shape = read_shape(base.folder)
    _check_adapter(spec, shape)
    context.events.emit("base_model", digest=base.digest, licence=base.licence, parameters=shape.parameters)
    notices = keep_notices(base.folder, base.findings, context.workspace.out_meta)
    if notices:
        context.events.emit("notices_kept", files=list(notices))
    data = prepare_data(spec, context.workspace, base, context.events)
    plan, steps = _plan(context, shape, data)
    _warn_of_disk(context, plan)
    estimate = plan.estimate
    context.events.emit(
        "estimate", memory_bytes=estimate.memory_bytes, seconds=estimate.seconds, fits=estimate.fits, fix=estimate.cheapest_fix
    )
    summary = PrepareSummary(
        dataset=data.summary,
        estimate=estimate,
        base_digest=base.digest,
        licence=base.licence,
        base_model=base.findings,
        total_steps=steps,
        micro_batch_size=plan.micro_batch_size,
        scan=data.scan,
    )
    return seal_result(context.workspace, spec, Step.PREPARE, Summary(prepare=summary))


def _serve(context: StepContext) -> None:
    """Progress is a convenience: the step goes on without it."""
    progress = ProgressState(context.spec.run.key)
    progress.enter("Preparing")
    try:
        start_progress_server(progress, context.spec.progress.token_digest)
    except OSError as error:
        context.events.emit("warning", reason="ProgressPortTaken", message=f"no progress server: {error.strerror}")


def _base_model(context: StepContext) -> BaseModel:
    folder = context.workspace.base_model(context.spec)
    if context.spec.base_model.path is None:
        context.events.emit("phase", phase="FetchingBaseModel")
        fetch_base_model(context.spec.base_model.uri, folder)
    return check_base_model(context.spec, folder)


def _check_adapter(spec: RunSpec, shape: ModelShape) -> None:
    """Adapters need layers to sit on; told here, before a node is asked for."""
    lora = spec.tuner.lora or Lora()
    if spec.tuner.type.value != "Full" and not shape.adapted(lora):
        known = sorted({linear.name.rsplit(".", 1)[-1] for linear in shape.linears})
        message = f"tuner.lora.targetModules: the base model has no linear layer named {', '.join(lora.target_modules)[:128]}"
        raise ConfigurationError("UnknownModules", message, f"Its linear layers are {', '.join(known)[:256]}.")


def _plan(context: StepContext, shape: ModelShape, data: PreparedData) -> tuple[RunPlan, int]:
    spec = context.spec
    processes = max(1, spec.resources.gpus)
    schedule = plan_schedule(
        spec, len(data.train.tokens), processes, spec.training.micro_batch_size or 1, held_out=data.validation is not None
    )
    mean = sum(data.train.tokens) / len(data.train.tokens)
    lengths = Lengths(
        longest=max(data.train.tokens),
        mean=mean,
        evaluation_items=data.summary.evaluation_items,
        item_tokens=round(mean) + spec.evaluation.max_new_tokens // 4,
    )
    return plan_run(spec, shape, lengths, steps=schedule.total_steps, threads=cpu_count()), schedule.total_steps


def _warn_of_disk(context: StepContext, plan: RunPlan) -> None:
    free = free_bytes(context.workspace.root)
    if plan.estimate.disk_bytes > free:
        message = f"the work folder will need about {plan.estimate.disk_bytes} bytes more, {free} are free"
        context.events.emit("warning", reason="DiskSmall", message=message)
