"""The image's entry point: ``finetune-trainer prepare|run|evaluate|publish|merge|clean|preflight|validate|estimate|--version``.

The order matters. Signals first, since Python as process 1 ignores TERM until told otherwise; then the run spec, so that a mistake in it is
answered in well under a second; then the environment that torch reads once; the sub-command, and with it torch, last. Every way to end
becomes an exit code and a termination message here.
"""

import argparse
import importlib
import importlib.metadata
import os
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError

from finetune_trainer.cli.egress_options import add_watch_options, egress_watch
from finetune_trainer.cli.merge_options import add_merge_options, digest, merge_request
from finetune_trainer.cli.preflight import Preflight, add_preflight_options, preflight_of
from finetune_trainer.cli.preflight import execute as preflight
from finetune_trainer.contract import (
    OUT_MOUNT,
    PREFLIGHT_STEP,
    RECORD_MOUNT,
    RUN_SPEC_PATH,
    WORK_MOUNT,
    ExitCode,
    MergeRequest,
    RunSpec,
    Step,
    StepResult,
)
from finetune_trainer.pod.allocator import return_freed_blocks
from finetune_trainer.pod.context import Evidence, SealedInputs, StepContext, StepOptions
from finetune_trainer.pod.errors import ConfigurationError, StepError, Stopped
from finetune_trainer.pod.events import EventLog, keep_stdout_for_events
from finetune_trainer.pod.launcher import processes_of
from finetune_trainer.pod.leftovers import remove_spent_folders
from finetune_trainer.pod.sealing import sealed_result
from finetune_trainer.pod.signals import StopFlag
from finetune_trainer.pod.termination import InternalError, done, failed, frames_of, step_error, write_termination_message
from finetune_trainer.pod.threads import set_library_environment
from finetune_trainer.pod.workspace import Workspace

COMMANDS = {
    "prepare": "check base model and data, write tokenised rows, a report and an estimate",
    "run": "train, then evaluate base and tuned model on the same items",
    "evaluate": "evaluate the adapter in the work folder against its base again",
    "publish": "put the adapter where the run spec wants it, under its digest",
    "merge": "write the model that a base model and an adapter are together, for engines that cannot load the adapter",
    "clean": "remove the run's work folder",
    PREFLIGHT_STEP: "find out whether a governed step may begin here, before any data are mounted",
    "validate": "check a run spec",
    "estimate": "tell the memory, disk and time that training would take",
}
_STEP_OF = {"prepare": Step.PREPARE, "run": Step.TRAIN, "publish": Step.PUBLISH}


@dataclass(frozen=True)
class Invocation:
    """The parsed command line. ``merge`` and ``preflight`` are set for these commands alone; a merge's folder is the one it writes into."""

    command: str
    spec_path: Path
    workspace: Workspace
    attempt: int
    options: StepOptions
    merge: MergeRequest | None = None
    preflight: Preflight | None = None

    @property
    def step(self) -> str:
        return _STEP_OF[self.command].value if self.command in _STEP_OF else self.command


@dataclass(frozen=True)
class _Work:
    """What the command line asks for, ready to be done; ``name`` is what a person calls it."""

    key: str
    name: str
    do: Callable[[], StepResult | None]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ExitCode.CONFIGURATION, f"{self.prog}: {message}\n")


def parse(arguments: Sequence[str]) -> Invocation:
    """Parse the command line; raises ``SystemExit`` for help, version and mistakes (64)."""
    parser = _Parser(prog="finetune-trainer", description="Fine-tune a language model, one step of a run at a time.")
    parser.add_argument("--version", action="version", version=f"finetune-trainer {version()}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser, metavar="COMMAND")
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose)
        command.add_argument("--attempt", type=_positive, default=1, help="which attempt of this step this is, from 1")
        if name == "merge":
            add_merge_options(command)
            continue
        command.add_argument("--spec", type=Path, default=Path(RUN_SPEC_PATH), help="the run spec (default: %(default)s)")
        if name == PREFLIGHT_STEP:
            add_preflight_options(command)
            continue
        default = Path(OUT_MOUNT if name == "publish" else WORK_MOUNT)
        command.add_argument("--workspace", type=Path, default=default, metavar="DIR", help="the run's work folder (default: %(default)s)")
        _add_step_options(command, name)
    read = parser.parse_args(arguments)
    if read.command == "merge":
        return Invocation(read.command, Path(RUN_SPEC_PATH), Workspace(Path(read.out)), read.attempt, StepOptions(), merge_request(read))
    if read.command == PREFLIGHT_STEP:
        wanted = preflight_of(read)
        if wanted is None:
            parser.error("a preflight needs --order-digest, --outside or both")
        return Invocation(read.command, read.spec, Workspace(Path("/")), read.attempt, StepOptions(), preflight=wanted)
    flags = {name: getattr(read, name, None) for name in ("micro_batch_size", "out", "record")}
    data, base = getattr(read, "data_digest", None), getattr(read, "base_digest", None)
    if (data is None) != (base is None):
        parser.error("--data-digest and --base-digest belong together")
    sealed = SealedInputs(data, base) if data is not None and base is not None else None
    options = StepOptions(**flags, egress=egress_watch(read), sealed=sealed)
    return Invocation(read.command, read.spec, Workspace(read.workspace), read.attempt, options)


def _add_step_options(command: argparse.ArgumentParser, name: str) -> None:
    if name in ("run", "estimate"):
        command.add_argument("--micro-batch-size", type=_positive, metavar="N", help="examples per forward pass; the effective batch stays")
    if name == "run":
        add_watch_options(command)
        for what in ("data", "base"):
            command.add_argument(f"--{what}-digest", type=digest, metavar="sha256:…", help=f"what prepare has sealed as {what}")
    if name in ("publish", "evaluate"):
        command.add_argument("--out", type=Path, metavar="DIR", help="where the product goes instead of the place the run spec names")
    if name == "publish":
        command.add_argument("--record", type=Path, metavar="DIR", help=f"folder with the signed record (default: {RECORD_MOUNT})")


def version() -> str:
    return importlib.metadata.version("finetune-operator")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def load_spec(path: Path) -> RunSpec:
    """Read the run spec; raises ``ConfigurationError`` that names the fields in question."""
    try:
        return RunSpec.from_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError("SpecUnreadable", f"no run spec at {path}: {error.strerror}", "Name the file with --spec.") from error
    except ValidationError as error:
        mistakes = [".".join(str(part) for part in mistake["loc"]) + ": " + mistake["msg"] for mistake in error.errors(include_input=False)]
        shown = "; ".join(mistakes[:5]) + (f"; and {len(mistakes) - 5} more" if len(mistakes) > 5 else "")
        hint = "Operator and trainer image may be of different versions, or the spec was written by hand."
        raise ConfigurationError("InvalidSpec", shown, hint) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    stop, evidence = StopFlag(), Evidence()
    stop.install()
    invocation = parse(sys.argv[1:] if arguments is None else arguments)
    answers = invocation.command in ("validate", "estimate")
    events = EventLog(invocation.attempt, descriptor=2 if answers else keep_stdout_for_events())
    run_key = ""
    try:
        work = _work(invocation, events, stop, evidence)
        run_key = work.key
        stop.install(lambda: _leave_at_once(invocation.step, work.key, evidence, events))
        events.emit("start", step=invocation.step, run=work.name, version=version())
        result = work.do()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one place where every end gets its exit code
        return _end_badly(
            step_error(error, invocation.workspace.root), error, invocation=invocation, run_key=run_key, evidence=evidence, events=events
        )
    message = done(invocation.step, run_key, evidence, result)
    write_termination_message(message)
    events.emit("end", step=invocation.step, outcome=message.outcome.value, reason=message.reason)
    return ExitCode.DONE


def _work(invocation: Invocation, events: EventLog, stop: StopFlag, evidence: Evidence) -> _Work:
    if (request := invocation.merge) is not None:
        name = request.adapter_uri or Path(request.adapter_path).name
        return _Work(request.key, name, lambda: _merge(request, invocation.attempt, events))
    wanted = invocation.preflight
    if wanted is not None and wanted.order is None:
        return _Work("", PREFLIGHT_STEP, lambda: preflight(wanted, None, evidence, events))
    spec = load_spec(invocation.spec_path)
    if wanted is not None:
        return _Work(spec.run.key, spec.run.name, lambda: preflight(wanted, spec, evidence, events))
    context = StepContext(spec, invocation.workspace, invocation.attempt, invocation.options, events, stop, evidence, invocation.spec_path)
    return _Work(spec.run.key, spec.run.name, lambda: _answer(invocation, context))


def _merge(request: MergeRequest, attempt: int, events: EventLog) -> StepResult:
    events.emit("environment", threads=set_library_environment(online=False))
    module = importlib.import_module("finetune_trainer.cli.merge")
    merged: StepResult = module.execute(request, attempt, events)
    return merged


def _answer(invocation: Invocation, context: StepContext) -> StepResult | None:
    step = _STEP_OF.get(invocation.command)
    result = sealed_result(context.workspace, context.spec, step) if step else None
    if step and result:
        context.events.emit("answered_from_sealed_result", step=step.value)
        if step is Step.TRAIN and context.spec.tracking is not None:
            importlib.import_module("finetune_trainer.cli.tracking").tell_end(context, result)
        remove_spent_folders(context.workspace, step)
        return result
    fetches = invocation.command == "prepare" and context.spec.base_model.path is None
    processes = processes_of(context.spec) if invocation.command == "run" else 1
    threads = set_library_environment(online=fetches, processes=processes)
    context.events.emit("environment", threads=threads)
    if invocation.command in ("run", "evaluate") and context.spec.resources.gpus == 0:
        return_freed_blocks(sum(file.stat().st_size for file in context.workspace.base_model(context.spec).glob("*.safetensors")))
    module = importlib.import_module(f"finetune_trainer.cli.{invocation.command}")
    answer: StepResult | None = module.execute(context)
    if step and answer:
        remove_spent_folders(context.workspace, step)
    return answer


def _end_badly(
    error: StepError, cause: BaseException, *, invocation: Invocation, run_key: str, evidence: Evidence, events: EventLog
) -> ExitCode:
    message = failed(error, invocation.step, run_key, evidence)
    if isinstance(error, InternalError):
        events.emit("internal_error", type=type(cause).__name__, frames=frames_of(cause))
    events.emit("end", step=invocation.step, outcome=message.outcome.value, reason=error.reason, message=error.message, hint=error.hint)
    if events.to_terminal or invocation.command in ("validate", "estimate"):
        print(f"finetune-trainer: {error.reason}: {error.message}\n{error.hint}".rstrip(), file=sys.stderr)
    write_termination_message(message)
    return error.exit_code


def _leave_at_once(step: str, run_key: str, evidence: Evidence, events: EventLog) -> None:
    error = Stopped("Stopped", "asked to stop before there was anything to seal", "Resume, or let the operator start the next attempt.")
    if evidence.checkpoint is not None:
        error = Stopped("Stopped", f"asked to stop; step {evidence.checkpoint.step} is sealed", error.hint)
    message = failed(error, step, run_key, evidence)
    events.emit("end", step=step, outcome=message.outcome.value, reason=error.reason)
    write_termination_message(message)
    os._exit(error.exit_code)


def leave_no_core() -> None:
    """A core holds rows and weights, and goes wherever the node collects them; for this process and those it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def program() -> NoReturn:
    """The installed command: run, then end at once. Taking the libraries apart object by object costs seconds that a stop does not have."""
    code: object
    leave_no_core()
    try:
        code = int(main())
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    program()
