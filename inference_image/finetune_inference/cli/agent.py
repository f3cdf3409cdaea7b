"""``finetune-inference agent``: keep the engine beside it holding the adapter versions that are wanted."""

import argparse
import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from finetune_inference.agent import logs
from finetune_inference.agent.deployment_source import DeploymentSource
from finetune_inference.agent.loop import Pace
from finetune_inference.agent.process import Settings, run
from finetune_inference.agent.sources import DesiredSource, FileSource
from finetune_inference.artifact.contents import Limits
from finetune_inference.artifact.merged import MergedFolder
from finetune_inference.cli.options import claim, https_url, positive
from finetune_inference.contract import BASE_NAME
from finetune_inference.contract.proof import Tolerances
from finetune_inference.engine import EngineTimeouts
from finetune_inference.kubernetes.access import Access, AccessMissing


def main(arguments: Sequence[str]) -> int:
    """Run until told to stop; 0 after that, 1 when the disk or the port cannot be had."""
    parser = _parser()
    options = parser.parse_args(list(arguments))
    try:
        settings = _settings(options)
    except AccessMissing as error:
        parser.error(str(error))
    logs.configure(options.log_level)
    try:
        return asyncio.run(run(settings))
    except OSError as error:
        logging.getLogger(__name__).error("cannot run: %s: %s", error.filename or "network", error.strerror or error)  # noqa: TRY400  for people
        return 1


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(
        source=_source(options),
        store=options.store,
        state=options.state,
        engine_url=options.engine_url,
        engine_admin_url=options.engine_admin_url,
        engine_store=PurePosixPath(options.engine_store or options.store.absolute()),
        claims=dict(options.claim),
        engine_key_file=options.engine_key_file,
        base_model=options.base_model,
        merged=_merged(options),
        address=options.address,
        port=options.port,
        pace=Pace(audit=options.audit_seconds),
        timeouts=EngineTimeouts(load=options.load_timeout_seconds, probe=options.probe_timeout_seconds),
        tolerances=Tolerances(effect=options.least_effect, fingerprint=options.fingerprint_tolerance),
        limits=Limits(bytes=options.max_artifact_bytes),
    )


def _merged(options: argparse.Namespace) -> MergedFolder | None:
    """Raises `AccessMissing` where only one of the two options is there."""
    if (options.merged_version is None) != (options.merged_model is None):
        raise AccessMissing("--merged-version and --merged-model belong together")
    return MergedFolder(options.merged_model, options.merged_version) if options.merged_model is not None else None


def _source(options: argparse.Namespace) -> DesiredSource:
    """Raises `AccessMissing` for an AdapterDeployment that cannot be asked for."""
    if options.desired is not None:
        return FileSource(options.desired)
    if options.namespace is None:
        raise AccessMissing("--adapter-deployment needs --namespace")
    access = Access.of(options.kube_api_url, options.kube_ca_file, options.kube_token_file, environ=os.environ)
    return DeploymentSource(
        access, options.namespace, options.adapter_deployment, options.merged_version or options.base_name, options.merged_version
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="finetune-inference agent", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--desired", type=Path, metavar="FILE", help="file with the desired set; read again when it changes")
    source.add_argument("--adapter-deployment", metavar="NAME", help="the AdapterDeployment whose status has the desired set; watched")
    parser.add_argument("--namespace", help="of the AdapterDeployment")
    parser.add_argument("--base-name", default=BASE_NAME, help="what the engine calls the base model (with --adapter-deployment)")
    parser.add_argument("--kube-api-url", type=https_url, help="the API server, if it is not that of the pod's own cluster")
    parser.add_argument("--kube-ca-file", type=Path, help="authority of the API server (default: the service account's)")
    parser.add_argument("--kube-token-file", type=Path, help="token for the API server (default: the service account's)")
    parser.add_argument("--store", type=Path, required=True, help="folder for verified artifacts; the engine needs it read-only")
    parser.add_argument("--engine-store", help="the store's path in the engine's container (default: the same)")
    parser.add_argument("--state", type=Path, required=True, help="folder for the last good desired set and the fingerprints")
    parser.add_argument("--engine-url", default="http://127.0.0.1:8000", help="the engine's address, without a path")
    parser.add_argument("--engine-admin-url", help="where adapters are loaded, if that is another port (default: the same)")
    parser.add_argument("--engine-key-file", type=Path, help="file with the engine's API key")
    parser.add_argument("--base-model", type=Path, help="the base model's folder: dimensions, tokenizer and template are compared with it")
    parser.add_argument("--merged-version", metavar="VERSION", help="the version whose merged model the engine serves, and nothing else")
    parser.add_argument("--merged-model", type=Path, metavar="FOLDER", help="that model's folder; its record lies in FOLDER.meta")
    parser.add_argument(
        "--claim", action="append", default=[], type=claim, metavar="NAME=FOLDER", help="where a claim is mounted; repeatable"
    )
    parser.add_argument("--address", default="0.0.0.0", help="address of the status server")  # noqa: S104  probes come from the node
    parser.add_argument("--port", type=int, default=8090, help="port of the status server; 0 takes a free one, which is printed")
    parser.add_argument("--audit-seconds", type=positive, default=5.0, help="between two looks at the engine")
    parser.add_argument("--load-timeout-seconds", type=positive, default=120.0, help="for one adapter")
    parser.add_argument("--probe-timeout-seconds", type=positive, default=30.0, help="for one token")
    parser.add_argument("--least-effect", type=positive, default=1e-3, help="least change of a log-probability that counts as one")
    parser.add_argument("--fingerprint-tolerance", type=positive, default=0.25, help="largest change between two loads of one adapter")
    parser.add_argument("--max-artifact-bytes", type=int, default=8 << 30, help="largest artifact that is taken")
    parser.add_argument("--log-level", choices=["debug", "info", "warning"], default="info")
    return parser
