"""The template contract of ``finetune.json``: an adapter answers well only behind the tokenizer and template it was trained with."""

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from finetune_inference.server.adapters.refusals import AdapterRefused
from finetune_trainer.contract import Digest, canonical_json, digest_of

CONTRACT_FILE = "finetune.json"
TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
"""Those that the trainer's digest covers, sorted."""


class _Document(BaseModel):
    """Reads what this server needs and lets the rest be, which newer trainers may write."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel)


class TemplateContract(_Document):
    tokenizer_digest: Digest
    chat_template_digest: Digest | None = None
    stop_token_ids: list[int] = []


class Facts(_Document):
    weights: str
    template: TemplateContract


class Served(_Document):
    """What this server renders and tokenizes with."""

    tokenizer_digest: Digest
    chat_template_digest: Digest | None
    vocabulary: int


def served(folder: Path, chat_template: str | None, vocabulary: int) -> Served:
    """Digests of the tokenizer in a base model's folder."""
    files = [[name, _file_digest(folder / name)] for name in TOKENIZER_FILES if (folder / name).is_file()]
    return Served(
        tokenizerDigest=digest_of(canonical_json(files).encode()),
        chatTemplateDigest=digest_of(chat_template.encode()) if chat_template else None,
        vocabulary=vocabulary,
    )


def stop_tokens(folder: Path, server: Served) -> tuple[int, ...]:
    """Token ids at which this adapter's answers end, besides the base model's; none for an adapter without a contract.

    Raises:
        AdapterRefused: it was trained with another tokenizer or template.
    """
    path = folder / CONTRACT_FILE
    if not path.is_file():
        return ()
    try:
        facts = Facts.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise AdapterRefused(f"{CONTRACT_FILE} cannot be read: {field}: {first['msg']}; publish the adapter again") from error
    except ValueError as error:
        raise AdapterRefused(f"{CONTRACT_FILE} cannot be read: it is not JSON; publish the adapter again") from error
    if facts.weights != "Adapter":
        raise AdapterRefused(f"{CONTRACT_FILE} says weights: {facts.weights}; serve a whole model with --model")
    trained = facts.template
    if trained.chat_template_digest != server.chat_template_digest:
        raise AdapterRefused(
            f"{CONTRACT_FILE} template.chatTemplateDigest is {trained.chat_template_digest}, "
            f"this server's is {server.chat_template_digest}: serve the adapter on the base model it was trained on"
        )
    if trained.tokenizer_digest != server.tokenizer_digest:
        raise AdapterRefused(
            f"{CONTRACT_FILE} template.tokenizerDigest is {trained.tokenizer_digest}, "
            f"this server's is {server.tokenizer_digest}: serve the adapter on the base model it was trained on"
        )
    if outside := [token for token in trained.stop_token_ids if not 0 <= token < server.vocabulary]:
        raise AdapterRefused(f"{CONTRACT_FILE} template.stopTokenIds names {outside[0]}, which the vocabulary of {server.vocabulary} lacks")
    return tuple(trained.stop_token_ids)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
