"""Each switch that keeps a library from dialling out is needed: with it nothing is tried, and without it something is."""

import os
import subprocess
import sys

import pytest

from finetune_inference.server.threads import set_library_environment as of_the_server
from finetune_operator.manifests.serving.engine import OFFLINE
from finetune_trainer.pod.threads import set_library_environment as of_the_trainer

GUARD = """
import os, socket

def refuse(where):
    print("tried", where, flush=True)
    os._exit(3)

socket.socket.connect = lambda self, address: refuse(address)
socket.socket.connect_ex = lambda self, address: refuse(address)
socket.getaddrinfo = lambda host, *rest, **more: refuse(host)
"""
FETCHES = """
from huggingface_hub import hf_hub_download
try:
    hf_hub_download("nobody/nothing", "config.json", etag_timeout=1)
except Exception:
    pass
"""
REPORTS = """
import threading
from huggingface_hub.utils import send_telemetry
send_telemetry("finetune-test")
for thread in threading.enumerate():
    if thread.daemon:
        thread.join(30)
"""
IMPORTS = """
import accelerate, bitsandbytes, peft, transformers, trl
"""
PROGRAMS = {"HF_HUB_OFFLINE": FETCHES, "TRANSFORMERS_OFFLINE": FETCHES, "HF_HUB_DISABLE_TELEMETRY": REPORTS, "DO_NOT_TRACK": REPORTS}


def tried(program: str, switches: dict[str, str]) -> bool:
    """Whether the program wanted to reach anybody, with these switches and no others; it ends with the first try."""
    plain = {name: value for name, value in os.environ.items() if name not in {*PROGRAMS, "DISABLE_TELEMETRY"}}
    command = [sys.executable, "-c", GUARD + program]
    done = subprocess.run(command, env={**plain, **switches}, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 3), done.stderr
    return done.returncode == 3


@pytest.mark.parametrize("switch", PROGRAMS)
def test_a_switch_alone_stops_what_it_is_for(switch: str) -> None:
    assert tried(PROGRAMS[switch], {switch: "1"}) is False


@pytest.mark.parametrize("program", [FETCHES, REPORTS], ids=["fetching", "reporting"])
def test_without_switches_somebody_dials(program: str) -> None:
    assert tried(program, {}) is True


def test_every_program_of_ours_sets_them() -> None:
    trainer: dict[str, str] = {}
    server: dict[str, str] = {}
    of_the_trainer(online=False, environ=trainer)
    of_the_server(server)
    for environment in (trainer, server):
        assert {name for name in PROGRAMS if environment.get(name) == "1"} == {"HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"}
    assert set(PROGRAMS) <= {name for name, value in OFFLINE.items() if value == "1"}


def test_the_libraries_of_training_dial_nobody_when_they_are_imported() -> None:
    assert tried(IMPORTS, {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}) is False
