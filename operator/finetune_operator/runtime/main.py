"""The entry point ``finetune-operator``: options, one event loop, signals, exit status.

    finetune-operator --trainer-image REPOSITORY:TAG [--kubeconfig FILE --progress-via pod-proxy --no-leader-elect --log-format text]

Exit status 0 after a requested stop, 1 if a part failed (Kubernetes starts it again), 2 if it cannot work here at all.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_settings import CliApp

from finetune_operator.cluster.errors import ApiError
from finetune_operator.cluster.kube import KubeApi
from finetune_operator.control.failures import leaves
from finetune_operator.control.leader import LeadershipLost
from finetune_operator.runtime import logging as logs
from finetune_operator.runtime.metrics import Metrics
from finetune_operator.runtime.preflight import PreflightFailed
from finetune_operator.runtime.process import Ended, Process
from finetune_operator.runtime.settings import Settings

log = logging.getLogger("finetune_operator")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop."""
    try:
        settings = CliApp.run(Settings, cli_args=list(sys.argv[1:] if arguments is None else arguments))
    except ValidationError as error:
        for detail in error.errors():
            option = "-".join(str(part) for part in detail["loc"]).replace("_", "-")
            print(f"finetune-operator: --{option}: {detail['msg']}", file=sys.stderr)  # noqa: T201
        return 2
    logs.configure(settings.log_format, settings.log_level)
    status = 0
    try:
        asyncio.run(_serve(settings))
    except* PreflightFailed as failures:
        status = 2
        for failure in leaves(failures):
            log.critical("%s", failure)
    except* (ApiError, LeadershipLost, Ended, OSError) as failures:
        status = 1
        for failure in leaves(failures):
            log.critical("ending: %s", failure)
    except* Exception:
        status = 1
        log.critical("ending after a defect", exc_info=True)
    return status


async def _serve(settings: Settings) -> None:
    metrics = Metrics()
    kube = await KubeApi.connect(settings.kubeconfig, metrics.requested)
    try:
        await Process(settings, kube, metrics, _install_signals).run()
    finally:
        await kube.close()


def _install_signals(process: Process) -> None:
    """Both signals ask for the orderly end."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.stop.set)


if __name__ == "__main__":
    sys.exit(main())
