"""Where a worker's counters live: one memory-mapped file per kind, as prometheus_client's multiprocess collector reads them.

Unlike that library's own values, a file can be written anew without what is counted no more: versions come and go for as long as a worker
lives. Files are named by slot, not by process id, so a worker that is started anew goes on counting and their number stays what it is.
"""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from weakref import WeakSet

from prometheus_client.mmap_dict import MmapedDict, mmap_key


class Value:
    """One number of one series; counted by the event loop and by the checking thread."""

    def __init__(self, files: "CounterFiles", kind: str, key: str, total: float) -> None:
        self.kind = kind
        self.key = key
        self.total = total
        self._files = files

    def inc(self, amount: float) -> None:
        self._files.add(self, amount)

    def get(self) -> float:
        return self.total


class CounterFiles:
    """The files of one slot. `value` is what prometheus_client makes for each series (its ``values.ValueClass``)."""

    def __init__(self, folder: Path, slot: int) -> None:
        self._folder = folder
        self._slot = slot
        self._files: dict[str, MmapedDict] = {}
        self._values: WeakSet[Value] = WeakSet()
        self._lock = Lock()

    def value(  # noqa: PLR0917  called as prometheus_client calls its own
        self, kind: str, family: str, name: str, labels: Sequence[str], label_values: Sequence[str], help_text: str, **_options: object
    ) -> Value:
        """A series goes on where the file has it, else it begins at zero and is in the file at once."""
        key = mmap_key(family, name, list(labels), list(label_values), help_text)
        with self._lock:
            file = self._files.get(kind)
            if file is None:
                file = self._files[kind] = MmapedDict(str(self._path(kind)))  # type: ignore[no-untyped-call]
            total, _ = file.read_value(key)  # type: ignore[no-untyped-call]
            made = Value(self, kind, key, total)
            self._values.add(made)
            return made

    def add(self, value: Value, amount: float) -> None:
        """Count."""
        with self._lock:
            value.total += amount
            self._files[value.kind].write_value(value.key, value.total, 0.0)  # type: ignore[no-untyped-call]

    def compact(self) -> None:
        """Write every file anew with the series that somebody still holds; a reader sees the old one or the new one."""
        with self._lock:
            values = list(self._values)
            for kind, old in self._files.items():
                fresh = self._path(kind).with_suffix(".db.new")
                fresh.unlink(missing_ok=True)
                file = self._files[kind] = MmapedDict(str(fresh))  # type: ignore[no-untyped-call]
                for value in values:
                    if value.kind == kind:
                        file.write_value(value.key, value.total, 0.0)  # type: ignore[no-untyped-call]
                fresh.replace(self._path(kind))
                old.close()  # type: ignore[no-untyped-call]

    def _path(self, kind: str) -> Path:
        return self._folder / f"{kind}_{self._slot}.db"
