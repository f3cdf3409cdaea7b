"""Whoever meets a reason or an option finds it in the docs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "inference_image" / "finetune_inference"
TEXT = (ROOT / "docs" / "serving" / "agent.md").read_text(encoding="utf-8")
REASONS = sorted(
    {
        reason
        for part in ("artifact", "engine", "agent")
        for path in (PACKAGE / part).glob("[a-z]*.py")
        for reason in re.findall(r'"((?:[A-Z][a-z0-9]+){2,})"', path.read_text(encoding="utf-8"))
    }
)
OPTIONS = sorted(set(re.findall(r'"(--[a-z-]+)"', (PACKAGE / "cli" / "agent.py").read_text(encoding="utf-8"))))


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_documented(reason: str) -> None:
    assert f"`{reason}`" in TEXT


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_documented(option: str) -> None:
    assert f"`{option}" in TEXT


def test_the_search_finds_them() -> None:
    assert {"DigestMismatch", "NoEffect", "EngineUnreachable", "RankTooHigh"} <= set(REASONS)
    assert {"--desired", "--claim", "--least-effect"} <= set(OPTIONS)
