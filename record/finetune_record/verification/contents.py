"""The bytes: every file of the adapter and every document about it, against what is signed."""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from finetune_record import bundle, envelope
from finetune_record.bounds import hex_of
from finetune_record.folder import Published, other_kinds
from finetune_record.keys import PublicKeys
from finetune_record.layout import MODEL_SIGNATURE_FILE, RECORD_FILE, TRAINER_RECORD_FILE
from finetune_record.problems import Check, Problem
from finetune_record.statement import Statement, content_digest
from finetune_record.trainer_record import PROMOTABLE_FILE, RUN_FILE, disagreements, documents_of, read_object, unlike_the_record
from finetune_record.verification.found import Found, problem
from finetune_trainer.contract import Digest

_OWN = frozenset({RECORD_FILE, MODEL_SIGNATURE_FILE, TRAINER_RECORD_FILE})


def check_files(published: Published, statement: Statement) -> Found:
    """Names, bytes and kinds of the adapter's files, and the folder's own name."""
    files, folder = published.files, published.path.name
    wrong = other_kinds(files, folder, Check.FILES)
    if folder != hex_of(statement.artifact):
        wrong.append(Problem(Check.FOLDER, folder, f"was renamed, or is another adapter's: the record is about {statement.artifact}"))
    if statement.files:
        wrong += _compared(folder, files.digests, statement.files, Check.FILES)
    elif (digest := content_digest(files.digests.items())) != statement.artifact:
        wrong.append(Problem(Check.FILES, folder, f"its files make {digest}, and the record is about {statement.artifact}"))
    return Found(tuple(wrong), checked=(f"{len(files.digests)} files ({files.bytes:,} bytes)",))


def check_model_signature(published: Published, statement: Statement, trusted: PublicKeys) -> Found:
    """The signature that other people's tools verify. Raises ``OSError``."""
    text = published.document(MODEL_SIGNATURE_FILE)
    if text is None:
        if not statement.files:
            return Found(notes=("model.sig: there is none, as for every adapter whose files the record does not name one by one",))
        return problem(Check.MODEL_SIGNATURE, MODEL_SIGNATURE_FILE, "is missing, or is no file")
    try:
        signed = bundle.signed_files(bundle.Bundle.read(text), trusted)
    except envelope.EnvelopeError as error:
        return problem(Check.MODEL_SIGNATURE, MODEL_SIGNATURE_FILE, str(error))
    if content_digest(signed.items()) != statement.artifact:
        return problem(Check.MODEL_SIGNATURE, MODEL_SIGNATURE_FILE, f"is about other files than {statement.artifact}")
    return Found(checked=("model.sig",))


def check_documents(published: Published, statement: Statement) -> Found:
    """What describes the adapter: by digest where one is signed, by what it says where not. Raises ``OSError``."""
    documents = published.documents
    assert documents is not None
    outputs = statement.predicate.outputs
    name = published.documents_path.name
    text = published.document(TRAINER_RECORD_FILE)
    record = read_object(text) if text is not None else None
    expected: dict[str, Digest] = {file.name: file.digest for file in outputs.documents}
    if outputs.record_digest is not None:
        expected[TRAINER_RECORD_FILE] = outputs.record_digest
    wrong = other_kinds(documents, name, Check.DOCUMENTS)
    if record is not None:
        wrong += disagreements(record, statement)
        expected = {**documents_of(record), **expected}
    elif text is not None:
        wrong.append(Problem(Check.DOCUMENTS, TRAINER_RECORD_FILE, "is no JSON object"))
    present = {file: digest for file, digest in documents.digests.items() if file not in _OWN or file in expected}
    wrong += _compared(name, present if expected else {}, expected, Check.DOCUMENTS)
    wrong += _other_reports(documents.digests, statement)
    for file in (RUN_FILE, PROMOTABLE_FILE):
        if (said := published.document(file)) is not None:
            wrong += unlike_the_record(file, said, statement)
    return Found(
        tuple(wrong),
        _unsigned(expected, documents.digests.keys() - {RECORD_FILE, MODEL_SIGNATURE_FILE}, statement),
        (f"{len(documents.digests)} documents",),
    )


def _other_reports(present: Mapping[str, Digest], statement: Statement) -> Iterator[Problem]:
    """Reports on the data that are not those by which it was decided, though they were published and signed with the adapter."""
    for report in statement.predicate.data.reports:
        found = present.get(report.file or "")
        if found is not None and found != report.digest:
            where, recorded = report.file or "", f"recorded as predicate.data.reports is {report.digest}"
            yield Problem(Check.DOCUMENTS, where, f"is not the report that was decided upon: its bytes are {found}, {recorded}")


def _unsigned(expected: Mapping[str, Digest], present: AbstractSet[str], statement: Statement) -> tuple[str, ...]:
    """What nobody has signed, and is therefore only compared where the signed record says the same."""
    signed = {file.name for file in statement.predicate.outputs.documents}
    if TRAINER_RECORD_FILE in signed or statement.predicate.outputs.record_digest is not None:
        signed |= expected.keys()
    unsigned = sorted(present - signed)
    if not unsigned:
        return ()
    return (f"documents: {', '.join(unsigned)}: the signed record holds no digest of them, so only what both say was compared",)


def _compared(folder: str, found: Mapping[str, Digest], expected: Mapping[str, Digest], check: Check) -> Iterator[Problem]:
    for name in sorted(found.keys() | expected.keys()):
        where = f"{folder}/{name}"
        if name not in found:
            yield Problem(check, where, "is missing")
        elif name not in expected:
            yield Problem(check, where, "is not in the record: it was added")
        elif found[name] != expected[name]:
            yield Problem(check, where, f"was changed: its bytes are {found[name]}, recorded are {expected[name]}")
