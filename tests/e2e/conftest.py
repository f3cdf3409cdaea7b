"""The order of the tests on a real node."""

from pathlib import Path

import pytest

LOOKS_AT_THE_HOST = "test_host_is_left_as_it_was.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What compares the host before and after comes before the session's own node, which would have changed it already."""
    looking = [item for item in items if item.path == Path(__file__).parent / LOOKS_AT_THE_HOST]
    others = [item for item in items if item not in looking]
    first = next((place for place, item in enumerate(others) if "t3" in getattr(item, "fixturenames", ())), len(others))
    items[:] = [*others[:first], *looking, *others[first:]]
