"""Give an image what an installed package has and copied sources lack: its version and its command.

Run while an image is built: `image_metadata.py PYPROJECT APP_FOLDER COMMAND BIN_FOLDER EXIT_CODE_ON_TERM`. Copying sources
in place of installing them keeps our code a layer of its own, without build tools in the image.
"""

import sys
import tomllib
from pathlib import Path


def write_version(project: dict[str, object], app: Path) -> None:
    """What `importlib.metadata.version` reads, next to the sources."""
    name, version = str(project["name"]), project["version"]
    folder = app / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def write_command(project: dict[str, object], command: str, folder: Path, exit_on_term: int) -> None:
    """The console script that the project declares under this name.

    Process 1 of a container is deaf to TERM until it says otherwise, and our imports take a while: until the command
    sets its own handler, TERM ends it with the given code.
    """
    scripts = project["scripts"]
    assert isinstance(scripts, dict)
    module, function = scripts[command].split(":")
    target = folder / command
    # -P: the folder of the script is no place to import from.
    target.write_text(
        "#!/opt/finetune/bin/python3 -P\n"
        "import os\nimport signal\nimport sys\n\n"
        f"signal.signal(signal.SIGTERM, lambda *_: os._exit({exit_on_term}))\n\n"
        f"from {module} import {function}\n\n"
        f"sys.exit({function}())\n"
    )
    target.chmod(0o755)


def main() -> None:
    pyproject, app, command, folder, exit_on_term = sys.argv[1:]
    project = tomllib.loads(Path(pyproject).read_text())["project"]
    write_version(project, Path(app))
    write_command(project, command, Path(folder), int(exit_on_term))


if __name__ == "__main__":
    main()
