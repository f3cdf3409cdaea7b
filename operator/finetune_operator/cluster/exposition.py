"""Reads the few families of a Prometheus exposition that are wanted, line by line, so that the rest costs nothing but its bytes."""

import re
from collections.abc import Collection
from typing import Final, NamedTuple

LINE_LIMIT: Final = 4096
_LABEL: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_SAMPLE: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{(.*)\} ([^ ]+)(?: -?[0-9]+)?$")
_ESCAPES: Final = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
_ESCAPE: Final = re.compile(r'\\[\\"n]')


class MetricLine(NamedTuple):
    """One sample with labels."""

    name: str
    labels: dict[str, str]
    value: float


class Malformed(ValueError):
    """A line of a wanted family that is no sample: what the rest of the answer says cannot be relied on."""


def read_line(line: bytes, names: Collection[str]) -> MetricLine | None:
    """The sample that a line holds, if its name is wanted; raises `Malformed`."""
    if line.partition(b"{")[0].decode("ascii", "replace") not in names:
        return None
    if len(line) > LINE_LIMIT:
        raise Malformed(f"a line is longer than {LINE_LIMIT} bytes")
    found = _SAMPLE.match(line.decode("utf-8", "replace").rstrip("\r"))
    if found is None:
        raise Malformed("a line is no sample")
    name, labels, value = found.groups()
    try:
        return MetricLine(name, {label: _ESCAPE.sub(_unescaped, text) for label, text in _LABEL.findall(labels)}, float(value))
    except ValueError:
        raise Malformed("a value is no number") from None


def _unescaped(found: re.Match[str]) -> str:
    return _ESCAPES[found.group()]
