"""``finetune-inference route``: the router, from routes to served requests.

    finetune-inference route --table routes.json --state-dir /var/lib/router [--api-keys DIR --port 8000 --admin-port 9100 …]
    finetune-inference route --watch-namespace team-a --state-dir /var/lib/router

Exit status 0 after a requested stop, 1 if a part failed (Kubernetes starts it again), 2 for a mistake in the options.
"""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from finetune_inference.kubernetes.access import Access, AccessMissing
from finetune_inference.router import logs
from finetune_inference.router.namespace import NamespaceSource
from finetune_inference.router.options import Options
from finetune_inference.router.sources import FileSource, LastGood, RouteSource
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
            where = "".join(f"--{str(part).replace('_', '-')}: " for part in detail["loc"])
            print(f"finetune-inference route: {where}{detail['msg']}", file=sys.stderr)
        return 2
    logs.configure(options.log_format, options.log_level)
    try:
        source = _source(options)
    except AccessMissing as error:
        log.critical("%s", error)
        return 2
    status = 0
    try:
        asyncio.run(Supervisor(options, source).run())
    except* OSError as errors:
        status = 1
        log.critical("the router cannot work here: %s", "; ".join(str(error) for error in errors.exceptions))
    except* Exception:
        status = 1
        log.critical("the router ends after a defect", exc_info=True)
    return status


def _source(options: Options) -> RouteSource:
    """Raises `AccessMissing` outside a cluster."""
    if options.table is not None:
        return FileSource(options.table)
    assert options.watch_namespace is not None, "the options have one of the two"
    access = Access.of(options.kube_api_url, options.kube_ca_file, options.kube_token_file, environ=os.environ)
    return NamespaceSource(access, options.watch_namespace, LastGood(options.state_dir).load())
