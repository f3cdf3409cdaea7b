"""The command `finetune-testbed`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from finetune_testbed import binaries, debian, lifecycle, node, processes, state
from finetune_testbed.bed import Testbed, Tier
from finetune_testbed.failures import EXPLAINED
from finetune_testbed.lifecycle import LifecycleError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did what was asked, 1 with a message on standard error otherwise."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except BrokenPipeError:
        # The reader (such as `head`) has seen enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except EXPLAINED as error:
        print(f"finetune-testbed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("finetune-testbed: interrupted; `up` goes on from here, `down` clears away", file=sys.stderr)
        return 130


def _up(options: argparse.Namespace) -> int:
    began = time.monotonic()
    bed = lifecycle.up(options.name, options.tier, _say, _changes(options), check_host=not options.no_preflight)
    _say(f"{bed.name}: {bed.tier} is up ({time.monotonic() - began:.1f} s)")
    _say(f"export KUBECONFIG={bed.kubeconfig}")
    return 0


def _changes(options: argparse.Namespace) -> dict[str, object]:
    """The settings named on the command line, and only those."""
    changes: dict[str, object] = {
        key: getattr(options, key)
        for key in ("fake_nodes", "gpus_per_node", "gpu_resource", "gpu_taint", "controller_qps", "controller_burst", "job_syncs", "fsync")
        if getattr(options, key) is not None
    }
    if options.stages is not None:
        changes["stages"] = os.path.abspath(options.stages) if options.stages else ""  # noqa: PTH100 - "" means ours
    if options.apiserver_flag is not None:
        changes["apiserver_flags"] = tuple(flag for flag in options.apiserver_flag if flag)
    return changes


def _down(options: argparse.Namespace) -> int:
    for name in state.names() if options.all else [options.name]:
        stopped = lifecycle.down(name, _say)
        _say(f"{name}: {'down' if stopped else 'there is no such testbed'}")
    return 0


def _status(options: argparse.Namespace) -> int:
    bed = lifecycle.require(options.name)
    found = lifecycle.problems(bed)
    _say(f"{bed.name}: {bed.tier}, {'healthy' if not found else f'{len(found)} problem(s)'}, state in {bed.state_dir}")
    for name in processes.recorded(bed):
        record = processes.read_record(bed, name)
        if record is not None:
            _say(f"  {name:<26} {'running' if processes.is_alive(record) else 'gone':<8} pid {record.pid}")
    for problem in found:
        _say(f"  ! {problem}")
    return 1 if found else 0


def _kubeconfig(options: argparse.Namespace) -> int:
    bed = lifecycle.require(options.name)
    print(bed.kubeconfig.read_text() if options.content else bed.kubeconfig)
    return 0


def _env(options: argparse.Namespace) -> int:
    bed = lifecycle.require(options.name)
    folder = _command_folder(bed)
    print(f"export KUBECONFIG={bed.kubeconfig}")
    print(f'export PATH="{folder}:$PATH"')
    return 0


def _command_folder(bed: Testbed) -> str:
    """A folder with kubectl (and helm, where it has been built), for a machine that has neither."""
    folder = bed.state_dir / "bin"
    folder.mkdir(exist_ok=True)
    for name in ("kubectl", "helm"):
        link = folder / name
        if program := binaries.find(name, bed.cache_dir):
            link.unlink(missing_ok=True)
            link.symlink_to(program)
    return str(folder)


def _logs(options: argparse.Namespace) -> int:
    bed = lifecycle.require(options.name)
    if options.component is None:
        for path in sorted(bed.logs.glob("*")):
            print(path)
        return 0
    path = processes.log_path(bed, options.component)
    if not path.exists():
        raise LifecycleError(f"There is no log of {options.component!r}; `finetune-testbed logs` lists them.")
    command = ["tail", f"--lines={options.lines}", *(["--follow=name"] if options.follow else []), str(path)]
    return subprocess.run(command, check=False).returncode


def _load_image(options: argparse.Namespace) -> int:
    bed = lifecycle.require(options.name)
    if bed.tier is not Tier.T3:
        raise LifecycleError(f"{bed.name} is {bed.tier}: only T3 runs images. finetune-testbed up --tier T3")
    for reference in node.load_image(bed, options.image):
        _say(reference)
    return 0


def _tools(_: argparse.Namespace) -> int:
    debian.ensure(debian.PROMTOOL_REQUIREMENTS, _say)
    binaries.ensure(binaries.TOOLS, binaries.cache_root(), _say)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="finetune-testbed", description="A real Kubernetes on one Linux host.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", default="default", help="which testbed (default: %(default)s)")

    up = commands.add_parser("up", parents=[common], help="start, repair or extend a testbed")
    up.add_argument("--tier", type=Tier, choices=list(Tier), default=Tier.T1, help="at least this much (default: T1)")
    up.add_argument("--nodes", dest="fake_nodes", type=int, metavar="N", help="fake nodes of T2 (10)")
    up.add_argument("--gpus", dest="gpus_per_node", type=int, metavar="N", help="GPUs per fake node (8)")
    up.add_argument("--gpu-resource", metavar="NAME", help="what the GPUs are called (nvidia.com/gpu)")
    up.add_argument("--gpu-taint", action=argparse.BooleanOptionalAction, help="taint fake nodes nvidia.com/gpu=present")
    up.add_argument("--stages", metavar="DIR", help="kwok Stages to play instead of ours ('' for ours)")
    up.add_argument("--fsync", action=argparse.BooleanOptionalAction, help="whether etcd waits for the disk (yes)")
    up.add_argument("--apiserver-flag", action="append", metavar="FLAG", help="extra API server flag, repeatable")
    up.add_argument("--controller-qps", type=int, metavar="N", help="requests/s of controllers and scheduler (200)")
    up.add_argument("--controller-burst", type=int, metavar="N", help="their burst (400)")
    up.add_argument("--job-syncs", type=int, metavar="N", help="Jobs synchronised at once (20)")
    up.add_argument("--no-preflight", action="store_true", help="start without checking disk and memory")
    up.set_defaults(command=_up)

    down = commands.add_parser("down", parents=[common], help="stop a testbed and leave nothing of it")
    down.add_argument("--all", action="store_true", help="every testbed of this user")
    down.set_defaults(command=_down)

    status = commands.add_parser("status", parents=[common], help="what runs; exit status 1 when something should and does not")
    status.set_defaults(command=_status)

    kubeconfig = commands.add_parser("kubeconfig", parents=[common], help="print the path of the admin's kubeconfig")
    kubeconfig.add_argument("--content", action="store_true", help="print the file itself")
    kubeconfig.set_defaults(command=_kubeconfig)

    env = commands.add_parser("env", parents=[common], help="print what a shell evaluates to use kubectl here")
    env.set_defaults(command=_env)

    logs = commands.add_parser("logs", parents=[common], help="print a component's log, or list the logs")
    logs.add_argument("component", nargs="?")
    logs.add_argument("-n", "--lines", type=int, default=200)
    logs.add_argument("-f", "--follow", action="store_true")
    logs.set_defaults(command=_logs)

    load = commands.add_parser("load-image", parents=[common], help="bring an image to T3's node")
    load.add_argument("image", help="an OCI or Docker archive")
    load.set_defaults(command=_load_image)

    tools = commands.add_parser("tools", help="install, or name, the Debian packages that the project's tests use besides")
    tools.set_defaults(command=_tools)
    return parser


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
