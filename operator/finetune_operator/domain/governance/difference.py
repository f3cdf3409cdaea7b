"""What differs from the last run that ended, by name and never by value, for whoever is to approve the next one."""

from collections.abc import Iterator, Mapping
from typing import Any

from finetune_operator.api.governance.job import SpecMarks
from finetune_operator.api.run import CurrentRun
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_trainer.contract import canonical_json, digest_of

_UNSEEN = frozenset({"suspend", "runPolicy", "healthPolicy", "queueName"})
"""How and when it runs, which nobody approves."""
_DIGITS, _MOST_MARKS, _MOST_NAMES, _LONGEST_NAME = 8, 96, 32, 128


def marks_of(spec: FineTuneJobSpec, run: CurrentRun) -> SpecMarks:
    """What a later spec is compared with: the fields that are set, two names deep, and the bytes behind data and base model."""
    return SpecMarks(run=run.number, marks=_marks(spec, run))


def changed_since(before: SpecMarks | None, spec: FineTuneJobSpec, run: CurrentRun | None) -> list[str]:
    """Names of what was set, changed or taken away since; bytes count once they are known. Nothing where there was no run."""
    if before is None:
        return []
    now = _marks(spec, run)
    unknown = {name for name in _BYTES if name not in now}
    names = (name for name in sorted({*before.marks, *now} - unknown) if before.marks.get(name) != now.get(name))
    return list(names)[:_MOST_NAMES]


_BYTES = ("dataset (bytes)", "baseModel (bytes)")


def _marks(spec: FineTuneJobSpec, run: CurrentRun | None) -> dict[str, str]:
    document = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    found = {name[:_LONGEST_NAME]: _mark(value) for name, value in _fields(document)}
    digests = (run.inputs.dataset_digest, run.inputs.base_digest) if run is not None else (None, None)
    found |= {name: _mark(digest) for name, digest in zip(_BYTES, digests, strict=True) if digest is not None}
    return dict(sorted(found.items())[:_MOST_MARKS])


def _fields(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if name in _UNSEEN:
            continue
        if isinstance(value, Mapping) and value:
            yield from ((f"{name}.{inner}", below) for inner, below in value.items())
        else:
            yield name, value


def _mark(value: Any) -> str:
    return digest_of(canonical_json(value).encode()).removeprefix("sha256:")[:_DIGITS]
