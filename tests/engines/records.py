"""Signed records beside published adapters, as the operator writes them."""

from collections.abc import Callable

from finetune_record import envelope, keys
from finetune_record.agreement import Classification
from finetune_record.chain import next_link
from finetune_record.layout import META_SUFFIX, RECORD_FILE
from finetune_record.materials import BaseSection, DataSection, File, Source
from finetune_record.outcome import OutputSection
from finetune_record.sections import Sections
from finetune_record.statement import Statement
from finetune_trainer.contract import digest_of
from finetune_trainer.contract.governance.vocabulary import Level
from tests.engines.artifacts import Published
from tests.unit.record.examples import KEY, NOW, sections

PUBLIC = keys.public_pem(KEY.public_key()).decode()


def record(
    adapter: Published,
    *,
    level: str = "internal",
    regimes: tuple[str, ...] = (),
    data: str = "tickets",
    namespace: str = "support",
    key: keys.PrivateKey = KEY,
    change: Callable[[bytes], bytes] = lambda content: content,
    of: Published | None = None,
) -> None:
    """Write the record of ``of`` (the adapter itself, if nobody else) beside the adapter; ``change`` is what somebody does to it."""
    about = of or adapter
    files = [File(name=path.name, digest=digest_of(path.read_bytes())) for path in sorted(about.folder.iterdir())]
    known = sections()
    made = Sections(
        identity=known.identity.model_copy(update={"namespace": namespace}),
        data=DataSection(sources=[Source(field="spec.dataset.ref", uri=f"pvc://data/{data}.jsonl", dataset=data)]),
        base=BaseSection(uri="pvc://models/base"),
        outputs=OutputSection(
            uri=about.uri, digest=about.digest, classification=Classification(level=Level(level), regimes=sorted(regimes))
        ),
    )
    stated = Statement.of(made, files, next_link(namespace, None, NOW, keys.key_id(key.public_key())))
    folder = adapter.folder.with_name(adapter.folder.name + META_SUFFIX)
    folder.mkdir(exist_ok=True)
    (folder / RECORD_FILE).write_bytes(change(envelope.seal(stated.to_payload(), key).to_bytes()))
