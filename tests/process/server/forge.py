"""A warm parent that forks servers, because importing the libraries takes longer than all that a test asks of one.

Reads one JSON command a line on standard input: ``{"start": [argv], "out": path, "err": path}`` answers ``{"pid": n}``; ``{"wait": pid}``
answers ``{"status": exit code or minus the signal}``. Each child is a process of its own that runs the real entry point. The parent
computes nothing, so there are no threads that a fork would lose.
"""

import json
import os
import sys
import traceback


def serve() -> None:
    from finetune_inference.server.threads import set_library_environment

    set_library_environment()
    import peft  # noqa: F401

    import finetune_inference.server.process  # noqa: F401

    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if "start" in command:
            print(json.dumps({"pid": _fork(command["start"], command["out"], command["err"])}), flush=True)
        else:
            _, status = os.waitpid(command["wait"], 0)
            print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


def _fork(arguments: list[str], out: str, err: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for target, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, os.open(out, flags, 0o600)), (2, os.open(err, flags, 0o600))):
        os.dup2(source, target)
    from finetune_inference.cli.main import main

    code = 1
    try:
        code = main(arguments)
    except Exception:  # noqa: BLE001 - this process ends here, and its log is all that tells why
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
