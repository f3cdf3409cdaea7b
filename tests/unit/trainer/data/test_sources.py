"""Whatever the container, the same rows come out; what is broken is named by file and row."""

import csv
import errno
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from finetune_trainer.data.sources import read_records
from finetune_trainer.pod.errors import DataError

ROWS = [{"prompt": f"Frage {n}: größer?", "completion": f"yes, {n}\nindeed"} for n in range(5)]


def jsonl(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write_csv(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, ["prompt", "completion"])
        writer.writeheader()
        writer.writerows(ROWS)


def write_csv_with_index(path: Path) -> None:
    """As pandas writes it by default: row numbers in a first column without a name."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["", "prompt", "completion"])
        writer.writeheader()
        writer.writerows({"": str(number), **row} for number, row in enumerate(ROWS))


CONTAINERS: dict[str, Callable[[Path], object]] = {
    "rows.jsonl": lambda path: path.write_bytes(jsonl(ROWS)),
    "rows.json": lambda path: path.write_text(json.dumps(ROWS, indent=1), encoding="utf-8"),
    "lines-in.json": lambda path: path.write_bytes(b"\xef\xbb\xbf" + jsonl(ROWS)),
    "rows.csv": write_csv,
    "indexed.csv": write_csv_with_index,
    "rows.parquet": lambda path: pq.write_table(pa.Table.from_pylist(ROWS), path),
    "rows.jsonl.gz": lambda path: path.write_bytes(gzip.compress(jsonl(ROWS))),
    "rows.jsonl.zst": lambda path: path.write_bytes(zstandard.compress(jsonl(ROWS))),
    "rows.parquet.gz": lambda path: (pq.write_table(pa.Table.from_pylist(ROWS), path), path.write_bytes(gzip.compress(path.read_bytes()))),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_gives_the_same_numbered_rows(name: str, tmp_path: Path) -> None:
    CONTAINERS[name](tmp_path / name)
    assert [(record.number, record.value) for record in read_records(tmp_path / name)] == list(enumerate(ROWS, start=1))


def test_a_folder_is_numbered_over_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_bytes(jsonl(ROWS[2:]))
    (tmp_path / "a.jsonl").write_bytes(jsonl(ROWS[:2]))
    (tmp_path / ".hidden.jsonl").write_bytes(b"not read")
    (tmp_path / "README.md").write_text("not data", encoding="utf-8")
    assert [record.value for record in read_records(tmp_path)] == ROWS


def test_a_text_file_holds_documents_between_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("one\ntwo\n\n\nthree\n", encoding="utf-8")
    assert [record.value for record in read_records(tmp_path / "book.txt")] == [{"text": "one\ntwo"}, {"text": "three"}]


SECRET = "the patient has"
BROKEN = {
    "torn last row": ("t.jsonl", jsonl(ROWS) + f'{{"prompt": "{SECRET}'.encode(), "MalformedRow", "row 6 (line 6 of t.jsonl)"),
    "torn array": ("t.json", f'[{{"prompt": "{SECRET}"}},'.encode(), "MalformedRow", "t.json starts a JSON array"),
    "ragged csv": ("t.csv", f"prompt,completion\na,b\n{SECRET}\n".encode(), "MalformedRow", "row 2 (t.csv, line 3)"),
    "too many columns": ("t.csv", f"prompt,completion\na,b\nc,d,{SECRET}\n".encode(), "MalformedRow", "row 2 (t.csv, line 3)"),
    "too many columns beside an index": ("t.csv", f",prompt\n0,a\n1,b,{SECRET}\n".encode(), "MalformedRow", "row 2 (t.csv, line 3)"),
    "cut gzip": ("t.jsonl.gz", gzip.compress(jsonl(ROWS * 50))[:-20], "FileDamaged", "compression is damaged"),
    "cut zstd": ("t.jsonl.zst", zstandard.compress(jsonl(ROWS * 50))[:-20], None, None),
    "cut parquet": ("t.parquet", b"PAR1" + b"\0" * 40, "FileDamaged", "Parquet"),
    "latin-1": ("t.jsonl", '{"prompt": "größer"}'.encode("latin-1"), "NotUtf8", "row 1"),
    "binary": ("t.jsonl", b"\x7fELF....", "UnknownFileType", "t.jsonl"),
}


@pytest.mark.parametrize("case", [name for name in BROKEN if BROKEN[name][2]])
def test_broken_files_are_refused_with_place_and_without_content(case: str, tmp_path: Path) -> None:
    name, content, reason, place = BROKEN[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_records(tmp_path / name))
    assert caught.value.reason == reason
    assert place is not None
    assert place in caught.value.message
    assert caught.value.hint
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("compression", ["snappy", "zstd", "gzip"])
@pytest.mark.parametrize("packed", [False, True])
def test_damage_inside_the_data_of_a_parquet_file_is_told_as_such(compression: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("t.parquet.gz" if packed else "t.parquet")
    pq.write_table(
        pa.Table.from_pylist([{"prompt": f"{SECRET} {n}", "completion": str(n)} for n in range(1000)]), path, compression=compression
    )
    content = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    middle = column.dictionary_page_offset + column.total_compressed_size // 4
    content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=f"{path.name} is not a readable Parquet file after row 0") as caught:
        list(read_records(path))
    assert caught.value.reason == "FileDamaged"
    assert SECRET not in str(caught.value)


def test_a_volume_that_fails_while_a_file_is_read_is_no_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "t.parquet")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", fail)
    with pytest.raises(OSError, match="Input/output error") as caught:
        list(read_records(tmp_path / "t.parquet"))
    assert caught.value.errno == errno.EIO


def test_an_object_spread_over_lines_is_told_from_a_torn_row(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps({"rows": ROWS}, indent=1), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        list(read_records(tmp_path / "t.json"))
    assert "one object per line" in caught.value.hint


def test_a_cut_zstd_file_never_passes_for_a_whole_one(tmp_path: Path) -> None:
    name, content, *_ = BROKEN["cut zstd"]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError):
        list(read_records(tmp_path / name))


def test_a_missing_path_and_an_empty_folder_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="DatasetMissing"):
        list(read_records(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="EmptyDataset"):
        list(read_records(tmp_path))
