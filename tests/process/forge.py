"""A warm parent that forks trainer processes, because importing the libraries takes ten times as long as a small training.

Reads one JSON command a line on standard input: ``{"start": [argv], "log": path, "env": {…}, "more_memory": bytes}`` answers
``{"pid": n}``; ``{"wait": pid}`` answers ``{"status": exit code or minus the signal}``. Each child is a process of its own that runs
the trainer's real entry point and can be killed like one.
"""

import json
import os
import resource
import sys
from pathlib import Path


def serve() -> None:
    import finetune_trainer.cli.run
    import finetune_trainer.evaluation.measurement
    import finetune_trainer.stages.sft
    import finetune_trainer.stages.training  # noqa: F401

    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if "start" in command:
            print(json.dumps({"pid": _fork(command["start"], command["log"], command["env"], command["more_memory"])}), flush=True)
        else:
            _, status = os.waitpid(command["wait"], 0)
            print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


def _limit_growth(more: int) -> None:
    """Let this process map ``more`` bytes beyond what it has now (RLIMIT_AS), as a small container would."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, resource.RLIM_INFINITY))


def _fork(arguments: list[str], log: str, environment: dict[str, str], more_memory: int | None) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    errors = os.open(log + ".err", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, descriptor), (2, errors)):
        os.dup2(source, target)
    if more_memory is not None:
        _limit_growth(more_memory)
    from finetune_trainer.cli.main import main

    code = 1
    try:
        code = main(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve()
