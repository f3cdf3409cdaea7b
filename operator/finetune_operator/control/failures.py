"""What a group of tasks has failed of."""

from collections.abc import Iterator


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Every failure by itself: groups may hold groups (PEP 654), and people read of causes."""
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for each in error.exceptions:
        yield from leaves(each)
