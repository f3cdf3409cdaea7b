"""``finetune plan``: what would be decided about a job, before anybody submits it; from files, without a cluster.

The answer is the operator's own, on what manifests say. The checks that the definition makes of fields together are the API server's:
``kubectl apply --dry-run=server`` asks those.
"""

import argparse
import json
import textwrap
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from finetune_cli.command import Command, Mistake
from finetune_cli.manifests import Manifest, of_kind, read_manifests
from finetune_operator.api import finetunejob
from finetune_operator.api.base import ApiModel
from finetune_operator.api.crd import FINETUNEJOB
from finetune_operator.api.governance import dataset, policy
from finetune_operator.api.governance.dataset import TrainingDataset
from finetune_operator.api.governance.policy import GovernancePolicy
from finetune_operator.api.governance.vocabulary import SUBMITTER_ANNOTATION
from finetune_operator.domain.governance.forecast import Forecast, forecast
from finetune_operator.domain.governance.view import GovernanceView, read_policy
from finetune_operator.domain.subject import mistakes_of
from finetune_trainer.contract.governance import Classification, Outcome, Severity
from finetune_trainer.contract.governance.facts import Site

REFUSED = 1
_WIDTH = 140
_LABEL = 12


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", type=Path, metavar="JOB.yaml", help="the FineTuneJob")
    more = "; several objects or Lists are fine, as `kubectl get -o yaml` writes them; may be given again"
    parser.add_argument("--policy", type=Path, action="append", default=[], metavar="FILE", help=f"GovernancePolicies{more}")
    parser.add_argument("--dataset", type=Path, action="append", default=[], metavar="FILE", help=f"TrainingDatasets{more}")
    parser.add_argument(
        "--namespace-labels", action="append", default=[], metavar="KEY=VALUE,…", help="labels of the job's Namespace; may be given again"
    )
    parser.add_argument("--residency", action="append", default=[], metavar="PLACE", help="a place that the installation knows")
    parser.add_argument("--regime", action="append", default=[], metavar="NAME", help="a regime that the installation adds")
    parser.add_argument("--trainer-image", default="", metavar="IMAGE", help="of the installation; not looked at without")
    parser.add_argument("--output", choices=("text", "json"), default="text", help="a page for people, or JSON (default: %(default)s)")


def _run(options: argparse.Namespace) -> int:
    jobs = of_kind(read_manifests([options.job]), finetunejob.KIND)
    if len(jobs) != 1:
        raise Mistake(f"{options.job}: holds {len(jobs)} FineTuneJobs; give a file with one")
    job = jobs[0]
    unknown = list(_unknown(job.get("spec"), _schema(), "spec"))
    found = forecast(job, _view(job, options), datetime.now(UTC), image=options.trainer_image)
    print(_as_json(found, unknown) if options.output == "json" else _page(found, unknown, job))
    decision = found.decision
    return REFUSED if unknown or decision is None or decision.outcome is Outcome.DENY else 0


def _view(job: Manifest, options: argparse.Namespace) -> GovernanceView:
    manifests = read_manifests([*options.policy, *options.dataset])
    namespace = job["metadata"].get("namespace") or "default"
    for manifest in manifests:
        _check(manifest)
    datasets = [each for each in of_kind(manifests, dataset.KIND) if (each["metadata"].get("namespace") or namespace) == namespace]
    try:
        site = Site(residencies=tuple(options.residency), regimes=tuple(options.regime))
    except ValidationError as error:
        raise Mistake(f"--residency, --regime: {mistakes_of(error, 'site').text}") from error
    return GovernanceView(
        namespace_labels={"kubernetes.io/metadata.name": namespace, **_labels(options.namespace_labels)},
        policies=tuple(read_policy(each) for each in of_kind(manifests, policy.KIND)),
        datasets={each["metadata"]["name"]: each for each in datasets},
        site=site,
    )


def _check(manifest: Manifest) -> None:
    """A policy that cannot be read would let nothing pass, which is no answer here. Raises `Mistake`."""
    models: dict[str, type[ApiModel]] = {policy.KIND: GovernancePolicy, dataset.KIND: TrainingDataset}
    model = models.get(manifest["kind"])
    if model is None:
        return
    try:
        model.model_validate({**manifest, "status": {}})
    except ValidationError as error:
        raise Mistake(f"{manifest['kind']} {manifest['metadata'].get('name', '')}: {mistakes_of(error, '').text.lstrip('.')}") from error


def _labels(texts: list[str]) -> dict[str, str]:
    labels = {}
    for text in (part for given in texts for part in given.split(",") if part):
        key, mark, value = text.partition("=")
        if not mark or not key:
            raise Mistake(f"--namespace-labels {text}: give KEY=VALUE")
        labels[key] = value
    return labels


def _schema() -> Mapping[str, Any]:
    version = FINETUNEJOB.to_manifest()["spec"]["versions"][0]
    schema: Mapping[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def _unknown(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Fields that the definition does not have, which the API server would drop with a warning."""
    if isinstance(value, Mapping) and "properties" in schema:
        for name, inner in value.items():
            below = schema["properties"].get(name)
            if below is None:
                yield f"{path}.{name}"
            else:
                yield from _unknown(inner, below, f"{path}.{name}")
    elif isinstance(value, list) and "items" in schema:
        for position, inner in enumerate(value):
            yield from _unknown(inner, schema["items"], f"{path}[{position}]")


def _page(found: Forecast, unknown: list[str], job: Manifest) -> str:
    lines = [f"{found.namespace}/{found.name or '?'}: {_verdict(found, unknown)}", ""]
    for field in unknown:
        lines += _row("!", f"{field}: there is no such field. Correct its name, or leave it out.")
    if found.decision is None:
        return "\n".join([*lines, *_row("!", found.problem)])
    decision = found.decision
    for finding in decision.findings:
        whose = f" (policy {finding.policy}{'' if finding.enforced else ', audit only'})" if finding.policy else ""
        lines += _row("!" if finding.blocks else "·", f"{finding.rule}: {finding.field}: {finding.reason}{whose}. {finding.remedy}")
    if not (job["metadata"].get("annotations") or {}).get(SUBMITTER_ANNOTATION):
        lines += _row("·", f"annotation {SUBMITTER_ANNOTATION} is not set: without it nobody can approve the job.")
    if lines[-1]:
        lines.append("")
    lines += _row("Level", _classified(decision.classification))
    lines += _row("Policies", ", ".join(decision.policies) or "none applies")
    lines += _row("Will need", "; ".join(_agreements(found)) or "nobody's approval")
    if found.later:
        lines += _row("Looked at", f"before training, once data, model and cluster are there: {', '.join(found.later)}")
    return "\n".join(lines)


def _verdict(found: Forecast, unknown: list[str]) -> str:
    if unknown or found.decision is None:
        return "cannot be submitted like this"
    if found.decision.outcome is Outcome.DENY:
        return f"would be refused, {sum(finding.blocks for finding in found.decision.findings)} finding(s)"
    return "would be taken on" + (", and then wait for people" if found.asked or found.decision.outcome is not Outcome.ALLOW else "")


def _classified(classification: Classification) -> str:
    places = ", ".join(sorted(classification.residencies)) or "anywhere"
    return f"{classification.level}; regimes: {', '.join(sorted(classification.regimes)) or 'none'}; may lie: {places}"


def _agreements(found: Forecast) -> Iterator[str]:
    for asked in found.asked:
        yield f"approve-{asked.stage.lower()} by {asked.count} other(s) ({', '.join(asked.policies)})"
    decision = found.decision
    waivable = [f.rule for f in decision.findings if f.blocks and f.severity is Severity.NEEDS_APPROVAL] if decision else []
    if waivable:
        yield f"approve-waive for {', '.join(dict.fromkeys(waivable))}"


def _as_json(found: Forecast, unknown: list[str]) -> str:
    answer = {
        "namespace": found.namespace,
        "name": found.name,
        "problem": found.problem,
        "unknownFields": unknown,
        "decision": json.loads(found.decision.to_json()) if found.decision is not None else None,
        "approvals": [{"stage": each.stage.value, "count": each.count, "policies": list(each.policies)} for each in found.asked],
        "lookedAtLater": list(found.later),
    }
    return json.dumps(answer, indent=2)


def _row(label: str, text: str) -> list[str]:
    indent = 2 if len(label) == 1 else _LABEL
    plain = "".join(character if character.isprintable() else "?" for character in text)
    return textwrap.wrap(plain, _WIDTH, initial_indent=f"{label:<{indent}}", subsequent_indent=" " * indent, break_on_hyphens=False)


COMMAND = Command("plan", "say what would be decided about a job, and who would have to agree, before it is submitted", _add_options, _run)
