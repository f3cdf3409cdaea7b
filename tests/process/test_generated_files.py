"""The committed pages and definitions are those of the models: what ``hack/manifests.sh`` finds."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_committed_is_what_the_models_say() -> None:
    check = subprocess.run([sys.executable, str(ROOT / "hack/generated.py"), "--check"], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout + check.stderr
