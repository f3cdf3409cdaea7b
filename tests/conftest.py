"""The testbed's fixtures and its count of tests per tier."""

import gc
import importlib.util
import os

# The tests for an accelerator run with whatever Python that machine has, without the testbed.
pytest_plugins = ["finetune_testbed.pytest_plugin"] if importlib.util.find_spec("finetune_testbed") else []

# The same cases every time, so that a run that is red today was red yesterday; FINETUNE_FULL_SIZE=1 draws others each time.
if importlib.util.find_spec("hypothesis") and not os.environ.get("FINETUNE_FULL_SIZE"):
    from hypothesis import settings

    settings.register_profile("repeatable", derandomize=True, database=None)
    settings.load_profile("repeatable")

# What collecting makes stays to the end: a garbage collection that walks it again and again takes a sixth of the unit tests' time.
gc.disable()


def pytest_collection_finish() -> None:
    gc.enable()
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # libraries count at the end of the process what was not collected
