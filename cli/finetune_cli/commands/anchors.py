"""``finetune anchors``: copies a namespace's checkpoints out of a bucket with object lock, every version of each.

A bucket with object lock loses nothing, and still shows less than it has: whoever may write there can lay a newer version or a delete
marker on top. So the versions are copied, and what hides one is named. `finetune verify --anchor` reads the folder, later and offline.
"""

# ruff: noqa: PLC0415 - the HTTP client comes late on purpose: the other commands dial nowhere and start without it

import argparse
import asyncio
import re
from pathlib import Path

from finetune_cli.command import Command, Mistake
from finetune_operator.cluster.bucketplace import KEY_ID_VARIABLE, SECRET_VARIABLE, TOKEN_VARIABLE, BucketError, BucketPlace

WRONG = 1
_SOURCE = re.compile(r"s3://([^/]+)(?:/(.*))?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = f"Credentials come from {KEY_ID_VARIABLE}, {SECRET_VARIABLE} and, for temporary ones, {TOKEN_VARIABLE}."
    parser.add_argument("source", metavar="s3://BUCKET/PREFIX", help="as the operator has them; a prefix ends with a slash")
    parser.add_argument("--endpoint", required=True, metavar="URL", help="http(s)://host:port of the server")
    parser.add_argument("--namespace", required=True, help="whose chain of records")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="a new or empty folder")
    parser.add_argument("--region", default="us-east-1", help="default: %(default)s")
    parser.add_argument(
        "--addressing", choices=("path", "virtual"), default="path", help="where the bucket's name is; default: %(default)s"
    )
    parser.add_argument("--ca", type=Path, metavar="FILE", help="authorities in PEM; default: the system's")


def _run(options: argparse.Namespace) -> int:
    place, folder = _place(options), _empty(options.to)
    if not _NAMESPACE.fullmatch(options.namespace):
        raise Mistake(f"--namespace {options.namespace} is no name of a namespace")
    from finetune_cli.bucketcopy import copied_from

    try:
        copied, problems = asyncio.run(copied_from(place, options.namespace, folder))
    except BucketError as error:
        raise Mistake(str(error)) from error
    except OSError as error:
        raise Mistake(f"--to {error.filename or folder}: {error.strerror}") from error
    for one in copied:
        print(one.line)
    for problem in problems:
        print(f"! {problem}")
    return WRONG if problems else 0


def _place(options: argparse.Namespace) -> BucketPlace:
    match = _SOURCE.fullmatch(options.source)
    if match is None:
        raise Mistake(f"{options.source} is not s3://BUCKET/PREFIX")
    try:
        return BucketPlace(options.endpoint, match[1], match[2] or "", options.region, options.addressing, options.ca)
    except ValueError as error:
        raise Mistake(str(error)) from error


def _empty(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
    except OSError as error:
        raise Mistake(f"--to {folder}: {error.strerror}") from error
    if taken:
        raise Mistake(f"--to {folder} is not empty: what lies there would be read as anchors too")
    return folder


COMMAND = Command("anchors", "copy the checkpoints of a namespace's records out of a bucket with object lock", _add_options, _run)
