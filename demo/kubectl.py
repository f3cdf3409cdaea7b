"""The demo talks to the cluster as its reader would: with kubectl, and shows the command before its output."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape


class KubectlError(RuntimeError):
    """kubectl refused; the message is what it wrote to standard error."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl bound to one cluster."""

    binary: str
    kubeconfig: Path
    console: Console

    def command(self, *arguments: str) -> list[str]:
        return [self.binary, f"--kubeconfig={self.kubeconfig}", *arguments]

    def run(self, *arguments: str, stdin: bytes | None = None, show: bool = False) -> str:
        """Run and return standard output; raises `KubectlError` with what kubectl said."""
        if show:
            self.show_command(*arguments)
        done = subprocess.run(self.command(*arguments), input=stdin, capture_output=True, check=False)  # noqa: S603
        if done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments[:4])} …: {done.stderr.decode().strip()}")
        output = done.stdout.decode()
        if show and output.strip():
            self.console.print(output.rstrip(), highlight=False, markup=False, soft_wrap=True)
        return output

    def get(self, *arguments: str) -> dict[str, Any]:
        """The object, or an empty dict while it does not exist."""
        text = self.run("get", *arguments, "-o", "json", "--ignore-not-found")
        parsed: dict[str, Any] = json.loads(text) if text.strip() else {}
        return parsed

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Run in the background with the terminal as its output."""
        return subprocess.Popen(self.command(*arguments))  # noqa: S603

    def show_command(self, *arguments: str) -> None:
        shown = " ".join(self._short(argument) for argument in arguments)
        self.console.print(f"[bold cyan]$ kubectl {escape(shown)}[/bold cyan]", highlight=False, soft_wrap=True)

    @staticmethod
    def _short(argument: str) -> str:
        path = Path(argument)
        if path.is_absolute() and path.is_relative_to(Path.cwd()):
            return str(path.relative_to(Path.cwd()))
        return argument


def conditions(resource: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Condition type → condition, only those that speak of the present generation."""
    generation = resource.get("metadata", {}).get("generation")
    listed: Sequence[dict[str, Any]] = resource.get("status", {}).get("conditions", [])
    return {item["type"]: item for item in listed if item.get("observedGeneration") == generation}
