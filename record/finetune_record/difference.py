"""Where two JSON documents differ, field by field."""

from collections.abc import Iterator
from typing import Any

SHOWN = 100


def differences(one: Any, other: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """``(field, value in one, value in other)`` for each leaf that differs; an absent value is shown as "absent"."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            below = f"{path}.{key}" if path else str(key)
            if key not in one or key not in other:
                yield below, shown(one[key]) if key in one else "absent", shown(other[key]) if key in other else "absent"
            else:
                yield from differences(one[key], other[key], below)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for position, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differences(left, right, f"{path}[{position}]")
    elif one != other or type(one) is not type(other):
        yield path, shown(one), shown(other)


def shown(value: Any) -> str:
    """A value on one line, not too long; texts of strangers keep no control characters."""
    text = f"{len(value)} entries" if isinstance(value, list | dict) else str(value)
    plain = "".join(character if character.isprintable() else "?" for character in text)
    return plain if len(plain) <= SHOWN else plain[: SHOWN - 1] + "…"
