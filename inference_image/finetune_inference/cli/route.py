"""``finetune-inference route``: the router, from a table file to served requests.

    finetune-inference route --table routes.json --state-dir /var/lib/router [--api-keys DIR --port 8000 --admin-port 9100 …]

Exit status 0 after a requested stop, 1 if a part failed (Kubernetes starts it again), 2 for a mistake in the options.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from finetune_inference.router import logs
from finetune_inference.router.options import Options
from finetune_inference.router.sources import FileSource
from finetune_inference.router.supervisor import Supervisor

log = logging.getLogger("finetune_inference.router")


def main(arguments: Sequence[str]) -> int:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(prog="finetune-inference route", description="Route OpenAI requests to versions of adapters.")
    for name, option in Options.model_fields.items():
        default = "" if option.is_required() or option.default is None else f" Default: {option.default}."
        parser.add_argument(f"--{name.replace('_', '-')}", required=option.is_required(), help=f"{option.description}{default}")
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    try:
        options = Options.model_validate(given)
    except ValidationError as error:
        for detail in error.errors():
            print(f"finetune-inference route: --{str(detail['loc'][0]).replace('_', '-')}: {detail['msg']}", file=sys.stderr)
        return 2
    logs.configure(options.log_format, options.log_level)
    status = 0
    try:
        asyncio.run(Supervisor(options, FileSource(options.table)).run())
    except* OSError as errors:
        status = 1
        log.critical("the router cannot work here: %s", "; ".join(str(error) for error in errors.exceptions))
    except* Exception:
        status = 1
        log.critical("the router ends after a defect", exc_info=True)
    return status
