"""Run a FineTuneJob manifest on this machine, without a cluster: the same three steps, each in a process of its own.

Claims are folders: ``pvc://models/tiny-chat`` is ``<claims>/models/tiny-chat``. Good for looking at what a step does, not for production.

    python -m examples.laptop examples/ticket-routing/finetunejob-tiny.yaml --claims /tmp/claims
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from finetune_operator.api.finetunejob import FineTuneJob
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.runspec import build_run_spec
from finetune_trainer.contract import DataSource, RunSpec, canonical_json, digest_of

STEPS = ("prepare", "run", "publish")


def run_spec(manifest: dict[str, Any], claims: Path, output_schema: Path | None) -> RunSpec:
    """The run spec that the operator would build, with folders of this machine in the place of mounts."""
    job = FineTuneJob.from_manifest(manifest)
    key = digest_of(canonical_json(manifest["spec"]).encode()).removeprefix("sha256:")
    owner = Owner(namespace=job.metadata.namespace, name=job.metadata.name, uid="laptop")
    spec = build_run_spec(owner, job.spec, key=key, name=job.metadata.name[:40], number=1, token_digest="sha256:" + "0" * 64)
    evaluation = spec.evaluation
    if evaluation.source:
        evaluation = evaluation.model_copy(update={"source": _located(evaluation.source, claims)})
    validation = spec.validation
    if validation.source:
        validation = validation.model_copy(update={"source": _located(validation.source, claims)})
    return spec.model_copy(
        update={
            "base_model": spec.base_model.model_copy(update={"path": str(_folder(spec.base_model.uri, claims))}),
            "dataset": _located(spec.dataset, claims),
            "validation": validation,
            "evaluation": evaluation,
            "task": spec.task.model_copy(update={"output_schema_path": str(output_schema) if spec.task.output_schema_path else None}),
            "artifact": spec.artifact.model_copy(update={"path": str(_folder(spec.artifact.uri, claims))}),
        }
    )


def _located(source: DataSource, claims: Path) -> DataSource:
    return source.model_copy(update={"path": str(_folder(source.uri, claims))})


def _folder(uri: str, claims: Path) -> Path:
    return claims / uri.removeprefix("pvc://")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.laptop", description="Run a FineTuneJob manifest without a cluster.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--claims", type=Path, required=True, help="folder with one folder per claim")
    parser.add_argument("--output-schema", type=Path, help="the ConfigMap manifest of the output schema (default: beside the manifest)")
    parser.add_argument("--work", type=Path, help="the run's work folder (default: <claims>/work/<job>)")
    options = parser.parse_args()
    manifest = yaml.safe_load(options.manifest.read_text(encoding="utf-8"))
    work = (options.work or options.claims / "work" / manifest["metadata"]["name"]).absolute()
    work.mkdir(parents=True, exist_ok=True)
    schema = work / "schema.json"
    config_map = options.output_schema or options.manifest.with_name("output-schema.yaml")
    if config_map.exists():
        schema.write_text(yaml.safe_load(config_map.read_text(encoding="utf-8"))["data"]["schema.json"], encoding="utf-8")
    spec_path = work / "run.json"
    spec_path.write_text(run_spec(manifest, options.claims.absolute(), schema).to_json(), encoding="utf-8")
    for step in STEPS:
        started = time.monotonic()
        command = [sys.executable, "-m", "finetune_trainer.cli.main", step, "--spec", str(spec_path), "--workspace", str(work)]
        code = subprocess.run(command, check=False, env={**os.environ, "FINETUNE_PROGRESS_PORT": "0"}).returncode  # noqa: S603
        print(f"{step}: exit {code} after {time.monotonic() - started:.0f} s", file=sys.stderr)
        if code != 0:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
