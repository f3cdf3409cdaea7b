"""The testbed's fixtures and its count of tests per tier."""

import importlib.util

# The tests for an accelerator run with whatever Python that machine has, without the testbed.
pytest_plugins = ["finetune_testbed.pytest_plugin"] if importlib.util.find_spec("finetune_testbed") else []
