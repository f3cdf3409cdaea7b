"""A process counts as ended when its last thread is gone, not when its first is a zombie."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finetune_testbed import processes
from finetune_testbed.processes import Record

LEADERLESS = """
import ctypes, socket, threading, time

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()

def outlive() -> None:
    print(listener.getsockname()[1], flush=True)
    time.sleep(600)

threading.Thread(target=outlive).start()
ctypes.CDLL(None).syscall(60, 0)  # exit(2) of this thread alone, x86-64
"""


def record_of(pid: int) -> Record:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    stat = Path(f"/proc/{pid}/stat").read_text()
    return Record(pid, int(stat[stat.rindex(")") + 2 :].split()[19]), boot, ("python",), {})


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number of exit(2) is that of x86-64")
def test_the_port_is_free_once_a_process_without_its_first_thread_is_terminated() -> None:
    with subprocess.Popen([sys.executable, "-c", LEADERLESS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        record = record_of(process.pid)
        deadline = time.monotonic() + 60
        while processes.is_alive(record):
            assert time.monotonic() < deadline
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", port))
        processes.terminate(record, seconds=60)
        socket.create_server(("127.0.0.1", port)).close()


def test_a_stranger_with_the_same_number_is_left_alone() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        record = record_of(process.pid)
        processes.terminate(Record(record.pid, record.started - 1, record.boot, record.command, {}))
        assert process.poll() is None
        assert processes.is_alive(record)
        processes.terminate(record)
        assert not processes.is_alive(record)


def test_the_second_termination_finds_nothing_to_do() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        record = record_of(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        processes.terminate(record)
        processes.terminate(record)
        assert not processes.is_alive(record)
