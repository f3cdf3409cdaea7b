"""``finetune verify`` needs no network: any use of a socket would end it."""

import subprocess
import sys
from pathlib import Path

from tests.unit.record.published import publish

GUARDED = """
import sys
def guard(event, arguments):
    if event.startswith("socket.") and event != "socket.__new__":
        raise SystemExit(f"dialled: {event} {arguments}")
sys.addaudithook(guard)
from finetune_cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_no_connection_is_tried(tmp_path: Path) -> None:
    place = publish(tmp_path)
    done = subprocess.run([sys.executable, "-c", GUARDED, *place.arguments()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "verified" in done.stdout
    dialling = "import socket; socket.create_connection(('127.0.0.1', 9))"
    control = subprocess.run(
        [sys.executable, "-c", GUARDED.replace("from finetune_cli", f"{dialling}\nfrom finetune_cli")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "dialled" in control.stderr
