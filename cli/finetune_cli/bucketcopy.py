"""Every version of every checkpoint of a namespace, from a bucket into a folder."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from finetune_operator.cluster.bucket import Bucket
from finetune_operator.cluster.bucketplace import BucketPlace, ObjectVersion, Retention


@dataclass(frozen=True)
class Copied:
    """One version that was copied, under this name."""

    name: str
    version: ObjectVersion
    retention: Retention | None

    @property
    def line(self) -> str:
        kept = f"{self.retention.mode} until {self.retention.until:%Y-%m-%d}" if self.retention is not None else "not locked"
        return f"{self.name}  version {self.version.version}, written {self.version.written:%Y-%m-%d %H:%M:%SZ}, {kept}"


async def copied_from(place: BucketPlace, namespace: str, folder: Path) -> tuple[list[Copied], list[str]]:
    """Every version of the namespace's checkpoints, and what is wrong with the anchor that they are. Raises `BucketError`, ``OSError``."""
    bucket = Bucket(place)
    try:
        await bucket.require_lock()
        found = await bucket.versions(f"{place.prefix}{namespace}/")
        copied = [await _copy(bucket, one, name, folder) for name, one in _named(found)]
    finally:
        await bucket.close()
    return copied, list(_problems(namespace, found, copied))


async def _copy(bucket: Bucket, one: ObjectVersion, name: str, folder: Path) -> Copied:
    (folder / name).write_bytes(await bucket.read(one.key, one.version))
    return Copied(name, one, await bucket.retention(one.key, one.version))


def _named(found: Iterable[ObjectVersion]) -> Iterator[tuple[str, ObjectVersion]]:
    """Each version with a name of its own: the object's, and its place among that object's versions, of which the first is 1."""
    numbers: dict[str, int] = {}
    for one in found:
        if not one.marker:
            numbers[one.key] = numbers.get(one.key, 0) + 1
            name = re.sub(r"[^-A-Za-z0-9._]", "_", one.key.rpartition("/")[2].removesuffix(".json"))
            yield f"{name}.{numbers[one.key]}.json", one


def _problems(namespace: str, found: Iterable[ObjectVersion], copied: Iterable[Copied]) -> Iterator[str]:
    """What an anchor should not have: nothing, what is not locked, several versions, a delete marker."""
    copied = list(copied)
    if not copied:
        yield f"there is no checkpoint of namespace {namespace}"
    for one in copied:
        if one.retention is None:
            yield f"{one.name} is not locked: it vouches for nothing"
        if one.name.endswith(".2.json"):
            first = f"{one.name.removesuffix('.2.json')}.1.json"
            yield f"{one.version.key} has more than one version: somebody wrote over it; the first is {first}"
    for marked in {one.key: one for one in found if one.marker}.values():
        yield f"{marked.key} was said to be deleted at {marked.written:%Y-%m-%d %H:%M:%SZ}; what is locked was copied nonetheless"
