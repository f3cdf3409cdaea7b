"""Run the benchmarks: ``python -m tests.performance [--full] [NAME …]``; exits 1 when a limit does not hold."""

import argparse
import importlib
import sys
from pathlib import Path

from tests.performance.report import hardware

HERE = Path(__file__).parent
NOT_BENCHMARKS = {"__init__", "__main__", "report", "conftest"}


def names() -> list[str]:
    """Modules of this folder that have a ``run``."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NOT_BENCHMARKS and "\ndef run(" in path.read_text())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="full size, as docs/performance.md states it")
    parser.add_argument("names", nargs="*", choices=[*names(), []], help="which benchmarks; all by default")
    options = parser.parse_args()
    print(f"{hardware()}\n")
    broken = []
    for name in options.names or names():
        section = importlib.import_module(f"tests.performance.{name}").run(options.full)
        print(section.to_markdown(), flush=True)
        broken += [limit for limit in section.limits if not limit.holds]
    for limit in broken:
        print(f"limit broken: {limit}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
