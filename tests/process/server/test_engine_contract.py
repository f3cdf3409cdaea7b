"""The engine contract, against our server always, and against a real vLLM where somebody points to one:

    FINETUNE_VLLM_URL=http://127.0.0.1:8000 FINETUNE_VLLM_MODEL=<served name> FINETUNE_VLLM_ADAPTER=<folder that vLLM sees> \
    python -m pytest tests/process/server/test_engine_contract.py

vLLM needs ``--enable-lora`` and ``VLLM_ALLOW_RUNTIME_LORA_UPDATING=true``.
"""

import os
from pathlib import Path

import pytest

from tests.engines.contract import CASES, Case, Engine
from tests.process.server.conftest import Server

VARIABLES = ("FINETUNE_VLLM_URL", "FINETUNE_VLLM_MODEL", "FINETUNE_VLLM_ADAPTER")


@pytest.fixture(params=["ours", "vllm"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "ours":
        server: Server = request.getfixturevalue("server")
        adapters: dict[str, Path] = request.getfixturevalue("adapters")
        return Engine(server.url, server.admin_url, "base", str(adapters["lora"]))
    if missing := [name for name in VARIABLES if name not in os.environ]:
        pytest.skip(f"no contract check against a real vLLM: {', '.join(missing)} not set")
    url, model, adapter = (os.environ[name] for name in VARIABLES)
    return Engine(url, url, model, adapter)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_engine_keeps_the_contract(engine: Engine, case: Case) -> None:
    case(engine)
