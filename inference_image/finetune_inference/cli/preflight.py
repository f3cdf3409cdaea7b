"""``finetune-inference preflight``: can this artifact be served by that engine on that base model? Asked before any server pod is touched.

Exit code 0: it can. 3: it cannot, and the result says why, with the way out of each finding. 1: a volume could not
be read, or nothing lies there yet; the last line of the log says why.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from finetune_inference.artifact.compatibility import findings
from finetune_inference.artifact.contents import Limits
from finetune_inference.artifact.errors import IntakeError
from finetune_inference.artifact.reading import adapter_facts, base_facts
from finetune_inference.artifact.record import examine
from finetune_inference.artifact.store import Store
from finetune_inference.cli.options import claim
from finetune_inference.contract import AdapterRecord, EngineKind, EngineLimits, EngineSpec, Finding, PreflightResult
from finetune_trainer.contract import TERMINATION_MESSAGE_LIMIT

REFUSED = 3


def main(arguments: Sequence[str]) -> int:
    """Check, print the result, and write it where asked."""
    options = _parser().parse_args(list(arguments))
    try:
        with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
            found = _look(options, Path(scratch))
        result = PreflightResult.of(options.digest, found, TERMINATION_MESSAGE_LIMIT, _record(options))
        if options.result:
            options.result.write_text(result.to_json(), encoding="utf-8")  # in place: the termination message is a mount
    except IntakeError as error:
        finding = error.finding
        logging.getLogger(__name__).error("%s: %s: %s. %s", finding.reason, finding.field, finding.message, finding.way_out)  # noqa: TRY400  for people
        return 1
    except OSError as error:
        logging.getLogger(__name__).error("cannot look: %s: %s", error.filename or "a volume", error.strerror)  # noqa: TRY400  for people
        return 1
    sys.stdout.write(result.to_json() + "\n")
    return 0 if result.compatible else REFUSED


def _look(options: argparse.Namespace, scratch: Path) -> tuple[Finding, ...]:
    store = Store(scratch, dict(options.claim), Limits(bytes=options.max_artifact_bytes))
    engine = EngineSpec(kind=options.engine, limits=EngineLimits(max_lora_rank=options.max_lora_rank))
    try:
        adapter = adapter_facts(store.fetch(options.uri, options.digest))
        return findings(adapter, base_facts(options.base_model, options.base_digest), engine)
    except IntakeError as error:
        if error.passing:
            raise
        return (error.finding,)


def _record(options: argparse.Namespace) -> AdapterRecord | None:
    return examine(options.uri, options.digest, dict(options.claim), options.record_key).record if options.record else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="finetune-inference preflight", description=__doc__)
    parser.add_argument("--uri", required=True, help="pvc://CLAIM/PATH of the artifact")
    parser.add_argument("--digest", required=True, help="sha256:… that the artifact must have")
    parser.add_argument(
        "--claim", action="append", default=[], type=claim, metavar="NAME=FOLDER", help="where a claim is mounted; repeatable"
    )
    parser.add_argument("--base-model", type=Path, help="the base model's folder")
    parser.add_argument("--base-digest", help="sha256:… of the served base model's files")
    parser.add_argument("--engine", type=EngineKind, choices=list(EngineKind), default=EngineKind.VLLM)
    parser.add_argument("--max-lora-rank", type=int, default=64)
    parser.add_argument("--max-artifact-bytes", type=int, default=8 << 30)
    parser.add_argument("--record", action="store_true", help="say in the result what the record beside the artifact says")
    parser.add_argument(
        "--record-key", action="append", default=[], metavar="PEM", help="public key that records are signed with; repeatable"
    )
    parser.add_argument("--scratch", type=Path, help="folder for a copy that is removed again")
    parser.add_argument("--result", type=Path, help="file for the result as well, such as the termination message")
    return parser
