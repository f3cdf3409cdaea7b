"""The command line of ``finetune-trainer merge``, which knows no run: two folders and their digests say it all."""

import argparse
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from finetune_trainer.contract import Digest, MergeRequest

_DIGEST: TypeAdapter[str] = TypeAdapter(Digest)
_FOLDERS = {
    "base": "the base model",
    "adapter": "the adapter: adapter_config.json and adapter_model.safetensors",
    "out": "the folder that the merged model goes into, under its digest",
}


def add_merge_options(command: argparse.ArgumentParser) -> None:
    """Add ``--base``, ``--adapter``, ``--out``, the digests of the first two, and what people call all three."""
    for name, what in _FOLDERS.items():
        command.add_argument(f"--{name}", type=_folder, required=True, metavar="DIR", help=what)
        if name != "out":
            command.add_argument(
                f"--{name}-digest", type=digest, required=True, metavar="sha256:…", help=f"what the files in --{name} must be"
            )
        command.add_argument(f"--{name}-uri", type=_text, metavar="URI", help=f"what --{name} is called in what is published")


def merge_request(read: argparse.Namespace) -> MergeRequest:
    """What the parsed command line asks for."""
    return MergeRequest(
        base_path=read.base,
        base_digest=read.base_digest,
        base_uri=read.base_uri,
        adapter_path=read.adapter,
        adapter_digest=read.adapter_digest,
        adapter_uri=read.adapter_uri,
        out_path=read.out,
        out_uri=read.out_uri,
    )


def digest(text: str) -> str:
    try:
        return _DIGEST.validate_python(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError("is not sha256: and 64 hexadecimal digits") from error


def _folder(text: str) -> str:
    return str(Path(_text(text)).absolute())


def _text(text: str) -> str:
    if not 0 < len(text) <= 2048 or not text.isprintable():
        raise argparse.ArgumentTypeError("must have 1 to 2,048 printable characters")
    return text
