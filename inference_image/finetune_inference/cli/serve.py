"""``finetune-inference serve --model DIR``: one base model and its adapters behind the OpenAI API."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from finetune_inference.server.options import OptionsRefused, ServerOptions
from finetune_inference.server.threads import set_library_environment

CONFIGURATION = 2


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop. 0 after a clean end, 1 when the engine died, 2 for options that cannot be honoured."""
    options = parse(arguments)
    set_library_environment()
    from finetune_inference.server.process import run  # noqa: PLC0415 - imports torch, which reads the environment

    try:
        return run(options)
    except OptionsRefused as refusal:
        print(f"finetune-inference serve: {refusal}", file=sys.stderr)
        return CONFIGURATION


def parse(arguments: Sequence[str]) -> ServerOptions:
    """Options from a command line; ends the process with 2 and a message for a wrong one."""
    parser = argparse.ArgumentParser(prog="finetune-inference serve", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="folder of the base model: safetensors, fast tokenizer")
    parser.add_argument("--served-model-name", metavar="NAME", help="what clients call the base model; the folder's name by default")
    parser.add_argument("--lora", action="append", default=[], metavar="NAME=DIR", help="an adapter to load at the start; may be repeated")
    parser.add_argument("--host", default="127.0.0.1", help="address for clients")
    parser.add_argument("--port", type=_port, default=8000, help="0 takes a free one and says which")
    parser.add_argument("--admin-host", default="127.0.0.1", help="address for loading adapters; nobody but the agent should reach it")
    parser.add_argument("--admin-port", type=_port, default=8001)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="auto: bfloat16 on a GPU, else float32")
    parser.add_argument("--max-loras", type=_count, default=8, help="adapters in memory")
    parser.add_argument("--max-lora-rank", type=_count, default=64)
    parser.add_argument("--max-num-seqs", type=_count, default=16, help="sequences in a batch")
    parser.add_argument("--max-model-len", type=_count, help="tokens of prompt and answer; the model's own maximum by default")
    parser.add_argument("--max-total-tokens", type=_count, help="bound on sequences times the longest, which is memory for keys and values")
    parser.add_argument("--max-prefill-tokens", type=_count, default=1024, help="prompt tokens computed between two steps of the others")
    parser.add_argument("--max-waiting", type=_count, default=256, help="requests that may wait; one more gets 503")
    parser.add_argument("--shutdown-timeout", type=_seconds, default=30.0, metavar="SECONDS", help="for answers in flight, after SIGTERM")
    given = vars(parser.parse_args(arguments))
    try:
        adapters = dict(_named(text) for text in given.pop("lora"))
    except ValueError as error:
        parser.error(str(error))
    name = given.pop("served_model_name") or given["model"].resolve().name
    return ServerOptions(served_model_name=name, adapters=adapters, **given)


def _named(text: str) -> tuple[str, str]:
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise ValueError(f"--lora {text}: it has the form NAME=DIR")
    return name, path


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 1 << 16:
        raise argparse.ArgumentTypeError("a port is between 0 and 65535")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it is at least 1")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError("it is not negative")
    return number
