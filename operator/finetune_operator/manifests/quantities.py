"""Kubernetes quantities as numbers, where the trainer has to compute with them."""

from decimal import ROUND_FLOOR, Decimal, InvalidOperation

_SUFFIXES = {
    "m": Decimal("0.001"), "": Decimal(1), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "P": Decimal(10**15), "E": Decimal(10**18), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
    "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip


def whole(quantity: str | None) -> int | None:
    """The quantity rounded down, in its base unit (bytes for memory); None for none. Raises ``ValueError`` for what is no quantity."""
    return None if quantity is None else int(amount(quantity).to_integral_value(ROUND_FLOOR))


def amount(quantity: str) -> Decimal:
    """The quantity in its base unit. Raises ``ValueError`` for what is none."""
    number = quantity.rstrip("mkMGTPEi") if quantity[-1:] in "mkMGTPEi" else quantity
    try:
        return Decimal(number) * _SUFFIXES[quantity[len(number) :]]
    except (InvalidOperation, KeyError) as error:
        raise ValueError(f"{quantity!r} is not a quantity such as 16Gi") from error
