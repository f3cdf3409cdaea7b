"""Of a build's output a person sees what it does now, once, and no byte counts."""

import pytest

from finetune_testbed.images.buildkit import by_digest, step_of


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("#9 [stage-0 3/8] RUN   uv pip sync\n", "[stage-0 3/8] RUN uv pip sync"),
        ("#9 12.41 Downloading torch (515.0MiB)\n", "Downloading torch (515.0MiB)"),
        ("#9 80.02 Bytecode compiled 30000 files in 20s\n", "Bytecode compiled 30000 files in 20s"),
        ("#12 exporting layers\n", "exporting layers"),
        ("#12 unpacking to finetune.dev/trainer:1\n", "unpacking to finetune.dev/trainer:1"),
        ("#12 exporting layers 60.1s done\n", ""),
        ("#3 sha256:f27c90 9.44MB / 127.69MB 0.2s\n", ""),
        ("#9 DONE 81.0s\n", ""),
        ("#9 1.2 some program's own words\n", ""),
        ("\n", ""),
    ],
)
def test_a_line_is_told_or_left_out(line: str, step: str) -> None:
    assert step_of(line) == step


def test_an_image_is_found_by_its_digest_without_its_tag() -> None:
    assert by_digest("host:5000/a/b:tag", "sha256:1") == "host:5000/a/b@sha256:1"
