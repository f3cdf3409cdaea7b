"""The command line, and the environment that is set before torch is there."""

from pathlib import Path

import pytest

from finetune_inference.cli.serve import parse
from finetune_inference.server.threads import cpu_count, set_library_environment


def test_the_folder_names_the_model_unless_somebody_does() -> None:
    assert parse(["--model", "/models/tiny"]).served_model_name == "tiny"
    options = parse(["--model", "/models/tiny", "--served-model-name", "base", "--lora", "a=/x", "--lora", "b=/y=z"])
    assert options.served_model_name == "base"
    assert options.adapters == {"a": "/x", "b": "/y=z"}


def test_adapters_are_loaded_from_this_machine_alone_by_default() -> None:
    assert parse(["--model", "m"]).admin_host == "127.0.0.1"


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--model", "m", "--lora", "a"],
        ["--model", "m", "--port", "70000"],
        ["--model", "m", "--max-loras", "0"],
        ["--model", "m", "--frob"],
        ["--model", "m", "--shutdown-timeout", "-1"],
    ],
)
def test_a_wrong_command_line_ends_with_two(flags: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(flags)
    assert end.value.code == 2


@pytest.mark.parametrize(("quota", "threads"), [("50000 100000", 1), ("100000 100000", 1), ("150000 100000", 2)])
def test_threads_follow_the_containers_limit(tmp_path: Path, quota: str, threads: int) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert cpu_count(tmp_path) == min(threads, cpu_count(tmp_path / "none"))


def test_what_a_person_has_set_stays(tmp_path: Path) -> None:
    environ = {"OMP_NUM_THREADS": "7", "HF_HUB_OFFLINE": "0"}
    assert set_library_environment(environ, tmp_path) == 7
    assert environ["MKL_NUM_THREADS"] == "7"
    assert environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environ["HF_HUB_OFFLINE"] == "1"
