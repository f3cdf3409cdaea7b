"""From a file or a folder to numbered records, whatever the container: JSON lines, a JSON array, CSV, Parquet or text, plain or compressed.

Content decides, not the name: a ``.json`` file full of JSON lines is common. Rows are numbered from 1 over all files in the order of their
names. A row that cannot be parsed is an error and never skipped: it almost always means that the file was cut off on its way.
"""

import csv
import gzip
import hashlib
import io
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from finetune_trainer.contract import canonical_json, digest_of
from finetune_trainer.pod.errors import DataError
from finetune_trainer.pod.sealing import file_digest

DATA_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")
_PACKED_SUFFIXES = (".gz", ".zst")
_ONE_OBJECT = "A file of rows is a JSON array, or one object per line; this one spreads an object over several lines."
_TRUNCATED = "The file may have been cut off on its way: compare its size with the original, and write it again."


@dataclass(frozen=True, slots=True)
class Record:
    """One row as it was written; ``number`` counts from 1 over the whole dataset."""

    number: int
    value: Any


def data_files(path: Path, name: str = "dataset.inline") -> list[Path]:
    """The files of a dataset, in the order in which their rows are numbered; raises ``DataError`` when there is none.

    ``name`` is the field of the FineTuneJob that describes the dataset; errors begin with it.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        hint = f"Check the path in {name}.uri: it is relative to the claim's root."
        raise DataError("DatasetMissing", f"{name}.uri: nothing at {path}", hint)
    files = sorted(file for file in path.rglob("*") if file.is_file() and _is_data(file, path))
    if not files:
        suffixes = ", ".join(DATA_SUFFIXES)
        raise DataError(
            "EmptyDataset",
            f"{name}.uri: no data file in the folder {path}",
            f"Files are recognised by their suffix: {suffixes}, also .gz and .zst.",
        )
    return files


@dataclass
class ReadBytes:
    """Digests of the very bytes that rows were read from, file by file: what changes between hashing and reading goes unseen nowhere."""

    digests: dict[Path, str] = field(default_factory=dict)

    def digest(self, path: Path) -> str:
        """Of the whole dataset at ``path``, once all of its rows are read: as `source_digest` says it."""
        return combined_digest(path, self.digests)


def combined_digest(path: Path, digests: Mapping[Path, str]) -> str:
    """The file's own digest, or for a folder the digest over names and contents of its data files."""
    if path in digests:
        return digests[path]
    return digest_of(canonical_json({str(file.relative_to(path)): digest for file, digest in digests.items()}).encode())


def source_digest(path: Path, name: str) -> str:
    """The digest of a dataset as its files are now."""
    return combined_digest(path, {file: file_digest(file) for file in data_files(path, name)})


def read_records(path: Path, name: str = "dataset.inline", read: ReadBytes | None = None) -> Iterator[Record]:
    """All rows of a dataset. Raises ``DataError`` with the field ``name``, file and row number for what cannot be read.

    ``read`` learns the digest of each file as it is read, through the one descriptor that the rows come from.
    """
    number = 0
    for file in data_files(path, name):
        try:
            for value in _read_file(file, number, read):
                number += 1
                yield Record(number, value)
        except DataError as error:
            raise DataError(error.reason, f"{name}: {error.message}", error.hint) from error


def _is_data(file: Path, root: Path) -> bool:
    inside = file.relative_to(root)
    return not any(part.startswith(".") for part in inside.parts) and _plain_suffix(file) in DATA_SUFFIXES


def _plain_suffix(file: Path) -> str:
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] in _PACKED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _read_file(file: Path, before: int, read: ReadBytes | None) -> Iterator[Any]:
    """Rows of one file; ``before`` rows came from earlier files."""
    count = before
    try:
        with _hashing(file, read) as source, _opened(source) as stream:
            for value in _rows_of(file, stream, before):
                count += 1
                yield value
    except UnicodeDecodeError as error:
        message = f"row {count + 1} or one soon after it ({file.name}) is not UTF-8"
        raise DataError("NotUtf8", message, "Write the file again in UTF-8.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        message = f"{file.name} ends or breaks after row {count}: its compression is damaged ({type(error).__name__})"
        raise DataError("FileDamaged", message, _TRUNCATED) from error
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the volume; Parquet's own have no number
        raise DataError("FileDamaged", f"{file.name} is not a readable Parquet file after row {count}", _TRUNCATED) from error


def _opened(source: "Path | _Hashed") -> IO[bytes]:
    raw: IO[bytes] = source.open("rb") if isinstance(source, Path) else io.BufferedReader(source, 1 << 20)
    magic = raw.peek(4)[:4]  # type: ignore[attr-defined]  # both are buffered readers
    if magic == b"PAR1" and not raw.seekable():
        return _own_copy(raw)
    if magic[:2] == b"\x1f\x8b":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw))
    if magic == b"\x28\xb5\x2f\xfd":
        return io.BufferedReader(_WholeFrames(raw), 1 << 20)
    return raw


@contextmanager
def _hashing(file: Path, read: ReadBytes | None) -> "Iterator[Path | _Hashed]":
    """The file, hashed as it is read where somebody wants to know; of what broke off no digest is known."""
    if read is None:
        yield file
        return
    with file.open("rb", buffering=0) as raw:
        hashed = _Hashed(raw)
        yield hashed
        read.digests[file] = hashed.digest_to_the_end()


def _own_copy(raw: IO[bytes]) -> IO[bytes]:
    """Parquet is read from its end: of what may change meanwhile it is read from a nameless copy on the container's own disk."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - whoever reads it closes it
    shutil.copyfileobj(raw, copy, 1 << 20)
    copy.seek(0)
    return copy


class _Hashed(io.RawIOBase):
    """A file that is hashed as it is read, from its beginning to its end and no other way."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._raw.readinto(buffer) or 0
        self._hash.update(memoryview(buffer)[:count])
        return count

    def digest_to_the_end(self) -> str:
        """Of all bytes of the file, also of those behind the last row; whoever read the rows has closed this, and not the file."""
        while chunk := self._raw.read(1 << 20):
            self._hash.update(chunk)
        return f"sha256:{self._hash.hexdigest()}"


class _WholeFrames(io.RawIOBase):
    """Zstandard frames as a stream that ends with an error, and not silently, where a frame was cut off."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._pending = b""
        self._inside = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._pending:
            packed = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame, self._inside = zstandard.ZstdDecompressor().decompressobj(), False
            packed = packed or self._raw.read(1 << 16)
            if not packed:
                if self._inside:
                    raise EOFError("a Zstandard frame ends early")
                return 0
            self._inside = True
            self._pending = self._frame.decompress(packed)
        count = min(len(buffer), len(self._pending))
        buffer[:count], self._pending = self._pending[:count], self._pending[count:]
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _rows_of(file: Path, stream: IO[bytes], before: int) -> Iterator[Any]:
    buffered = io.BufferedReader(stream, 1 << 20) if not isinstance(stream, io.BufferedReader) else stream  # type: ignore[type-var]
    head = buffered.peek(4096)[:4096]
    suffix = _plain_suffix(file)
    if head[:4] == b"PAR1":
        yield from _parquet(buffered)
        return
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    text = io.TextIOWrapper(buffered, encoding="utf-8-sig", newline="")
    if suffix in (".csv", ".tsv"):
        yield from _csv(file, text, before, "\t" if suffix == ".tsv" else ",")
    elif suffix == ".txt":
        yield from _paragraphs(text)
    elif first == b"[":
        yield from _json_array(file, text)
    elif first in (b"{", b'"'):
        yield from _json_lines(file, text, before)
    elif first:
        what = f"{file.name} is none of JSON lines, a JSON array, CSV, Parquet or text"
        raise DataError("UnknownFileType", what, "Name CSV files .csv and raw text .txt; JSON is recognised by its content.")


def _parquet(stream: IO[bytes]) -> Iterator[Any]:
    content = stream if stream.seekable() else io.BytesIO(stream.read())
    for batch in pq.ParquetFile(content).iter_batches(batch_size=4096):
        yield from batch.to_pylist()


def _csv(file: Path, text: IO[str], before: int, delimiter: str) -> Iterator[Any]:
    csv.field_size_limit(1 << 28)
    reader = csv.DictReader(text, delimiter=delimiter, strict=True)  # values beyond the header come under None
    number = before
    try:
        for row in reader:
            number += 1
            if None in row or None in row.values():
                message = f"row {number} ({file.name}, line {reader.line_num}) has another number of columns than the header"
                raise DataError(
                    "MalformedRow", message, "Quote values that contain the delimiter; " + _TRUNCATED[0].lower() + _TRUNCATED[1:]
                )
            yield {name: _cell(name, value) for name, value in row.items() if name}  # a column without a name is an index
    except csv.Error as error:
        raise DataError("MalformedRow", f"row {number + 1} ({file.name}, line {reader.line_num}) is not valid CSV", _TRUNCATED) from error


def _cell(name: str, value: str) -> Any:
    """Conversations travel in CSV as JSON in one cell."""
    if name in ("messages", "conversations") and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _paragraphs(text: IO[str]) -> Iterator[Any]:
    """Documents of a text file are separated by blank lines."""
    lines: list[str] = []
    for line in text:
        if line.strip():
            lines.append(line.rstrip("\r\n"))
        elif lines:
            yield {"text": "\n".join(lines)}
            lines = []
    if lines:
        yield {"text": "\n".join(lines)}


def _json_lines(file: Path, text: IO[str], before: int) -> Iterator[Any]:
    number = before
    for line_number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        number += 1
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            where = f"row {number} (line {line_number} of {file.name})"
            what = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            hint = _ONE_OBJECT if number == 1 and line.strip() in ("{", "{ ") else _TRUNCATED
            raise DataError("MalformedRow", f"{where} is not valid JSON: {what}", hint) from None


def _json_array(file: Path, text: IO[str]) -> Iterator[Any]:
    try:
        rows = json.loads(text.read())
    except (ValueError, RecursionError) as error:
        what = (
            f"{error.msg} at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        )
        raise DataError("MalformedRow", f"{file.name} starts a JSON array that is not valid: {what}", _TRUNCATED) from None
    yield from rows
