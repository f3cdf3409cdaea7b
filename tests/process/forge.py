"""A warm parent that forks trainer processes, because importing the libraries takes ten times as long as a small training.

Reads one JSON command a line on standard input: ``{"start": [argv], "log": path, "env": {…}, "more_memory": bytes, "interruption": {…}}``
answers ``{"pid": n}``; ``{"wait": pid}`` answers ``{"status": exit code or minus the signal, "cpu": seconds of processor time}``. Each
child is a process of its own that runs the trainer's real entry point and can be killed like one. With an ``interruption`` it gets the
signal from within, at a step or an event: a watcher outside would come too late on a machine that is busy, after the run's end at worst.
"""

import json
import os
import resource
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import finetune_trainer.cli.run


def serve() -> None:
    import finetune_trainer.evaluation.measurement
    import finetune_trainer.stages.sft
    import finetune_trainer.stages.training  # noqa: F401

    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if "start" in command:
            print(json.dumps({"pid": _fork(command)}), flush=True)
        else:
            _, status, used = os.wait4(command["wait"], 0)
            print(json.dumps({"status": os.waitstatus_to_exitcode(status), "cpu": used.ru_utime + used.ru_stime}), flush=True)


def _limit_growth(more: int) -> None:
    """Let this process map ``more`` bytes beyond what it has now (RLIMIT_AS), as a small container would."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, resource.RLIM_INFINITY))


def _interrupt(
    signals: list[int], share: float, delay: float, sealed: bool, tracked: bool, event: str, fields: dict[str, Any], asked: str
) -> None:
    """Send ``signals`` to this process ``delay`` seconds after a step or an event, and write the clocks' times then to ``asked``.

    It is the step at ``share`` of those that this attempt still has to take; with ``sealed`` not before there is a checkpoint, with
    ``tracked`` not before a tracker has answered. With an
    ``event`` it is the first one of that name with these ``fields``.
    """
    from finetune_trainer.pod.events import EventLog
    from finetune_trainer.pod.progress import ProgressState

    def send() -> None:
        Path(asked).write_text(json.dumps({"clock": time.monotonic(), "cpu": time.process_time()}))
        for number in signals:
            os.kill(os.getpid(), number)

    def later() -> None:
        threading.Timer(delay, send).start() if delay else send()

    if event:
        emit, told = EventLog.emit, threading.Event()

        def emit_and_interrupt(self: EventLog, kind: str, /, **told_fields: Any) -> None:
            emit(self, kind, **told_fields)
            if kind == event and fields.items() <= told_fields.items() and not told.is_set():
                told.set()
                later()

        EventLog.emit = emit_and_interrupt  # type: ignore[method-assign]
        return

    class Interrupted(ProgressState):
        target: int | None = None
        sent = False

        def step(self, step: int, **numbers: Any) -> None:
            super().step(step, **numbers)
            if self.target is None:
                self.target = step + int(share * (self.report.total_steps - step))
            there = (not sealed or self.report.checkpoint_step is not None) and (not tracked or self.report.tracker is not None)
            if not self.sent and step >= self.target and there:
                self.sent = True
                threading.Timer(delay, send).start()

    finetune_trainer.cli.run.ProgressState = Interrupted


def _fork(command: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    os.environ.update(command["env"])
    descriptor = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    errors = os.open(command["log"] + ".err", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, descriptor), (2, errors)):
        os.dup2(source, target)
    if command["more_memory"] is not None:
        _limit_growth(command["more_memory"])
    if command["interruption"] is not None:
        _interrupt(**command["interruption"])
    from finetune_trainer.cli.main import main

    code = 1
    try:
        code = main(command["start"])
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - told here, and the exit code is 1
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve()
