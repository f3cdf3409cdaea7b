"""One change of a valid adapter at a time, as somebody would make it who hopes that nobody looks."""

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetune_record import envelope, keys
from tests.unit.record import examples
from tests.unit.record.published import Place, items_of, rewrite_items

Change = Callable[[Place], object]


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def flip(path: Callable[[Place], Path], position: int = 5) -> Change:
    return lambda place: path(place).write_bytes(flipped(path(place).read_bytes(), position))


def resealed(change: Callable[[dict[str, Any]], None], key: keys.PrivateKey = examples.KEY) -> Change:
    """The statement changed, and the envelope left as it was but for its payload; with another key, signed anew."""

    def apply(place: Place) -> None:
        sealed = envelope.Envelope.read(place.record.read_bytes())
        statement = json.loads(sealed.content)
        before = json.dumps(statement)
        change(statement)
        assert json.dumps(statement) != before, "the case changes nothing"
        payload = envelope.canonical(statement)
        made = sealed.model_copy(update={"payload": base64.b64encode(payload).decode()})
        place.record.write_bytes((made if key is examples.KEY else envelope.seal(payload, key)).to_bytes())

    return apply


def field(path: str, value: Any) -> Change:
    """One field of the predicate set to something else, unsigned."""

    def change(statement: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = statement["predicate"]
        for name in parents:
            place = place[int(name)] if name.isdigit() else place[name]
        place[int(last) if last.isdigit() else last] = value

    return resealed(change)


def items(change: Callable[[list[Any]], None], which: str = "chain") -> Change:
    def apply(place: Place) -> None:
        path: Path = getattr(place, which)
        entries = items_of(path)
        change(entries)
        rewrite_items(path, entries)

    return apply


def edit_envelope(entry: Any, change: Callable[[dict[str, Any]], None]) -> None:
    sealed = json.loads(entry["data"]["record.dsse.json"])
    statement = json.loads(base64.b64decode(sealed["payload"]))
    change(statement)
    sealed["payload"] = base64.b64encode(envelope.canonical(statement)).decode()
    entry["data"]["record.dsse.json"] = envelope.canonical(sealed).decode()


def exchange(entries: list[Any], one: int, other: int) -> None:
    entries[one]["data"], entries[other]["data"] = entries[other]["data"], entries[one]["data"]


def strip(place: Place) -> None:
    sealed = envelope.Envelope.read(place.record.read_bytes())
    place.record.write_bytes(sealed.model_copy(update={"signatures": []}).to_bytes())


def other_type(place: Place) -> None:
    sealed = envelope.Envelope.read(place.record.read_bytes())
    place.record.write_bytes(sealed.model_copy(update={"payload_type": "text/plain"}).to_bytes())


def other_record(place: Place) -> None:
    """A record of the same chain, signed and whole, about the same adapter: but not this place in the chain."""
    place.record.write_text(items_of(place.chain)[0]["data"]["record.dsse.json"])
    entries = items_of(place.chain)
    rewrite_items(place.chain, entries[1:])


def of_another_adapter(place: Place) -> None:
    contents = {**examples.CONTENTS, "adapter_config.json": b"{}\n"}
    other = examples.statement(contents=contents)
    place.record.write_bytes(envelope.seal(other.to_payload(), examples.KEY).to_bytes())


def rename(place: Place) -> None:
    place.adapter.rename(place.root / ("00" * 32))
    place.meta.rename(place.root / ("00" * 32 + ".meta"))
    place.__dict__["hex"] = "00" * 32


def link(place: Place) -> None:
    target = place.adapter / "adapter_config.json"
    moved = place.root / "elsewhere.json"
    target.rename(moved)
    target.symlink_to(moved)


def pipe(place: Place) -> None:
    (place.adapter / "finetune.json").unlink()
    os.mkfifo(place.adapter / "finetune.json")


def sign_anew(place: Place) -> None:
    """Somebody with the old key's place but another key signs a changed statement, and everything fits but the key."""
    resealed(lambda statement: statement["predicate"]["identity"].update(submitter="mallory"), examples.OTHER_KEY)(place)


def document(name: str, old: str, new: str) -> Change:
    def apply(place: Place) -> None:
        text = (place.meta / name).read_text()
        assert old in text, "the case changes nothing"
        (place.meta / name).write_text(text.replace(old, new, 1))

    return apply
