"""The licences of a base model, by each of the sources that its files can be, and what some of them want beside every copy."""

from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_trainer.contract import RunSpec
from finetune_trainer.contract.governance.licences import OBLIGATIONS
from finetune_trainer.contract.model import BaseModelFindings, Licence, LicenceCategory, WeightsFormat
from finetune_trainer.data.base_model import check_base_model, look_at
from finetune_trainer.data.licence_texts import licence_of_text
from finetune_trainer.data.licences import HUB_NAMES, OWN_CATEGORIES, licence, read_licences
from finetune_trainer.data.notices import keep_notices
from finetune_trainer.pod.context import StepContext

C = LicenceCategory
APACHE = Path(__file__).parents[4] / "LICENSE"
LLAMA = "LicenseRef-scancode-llama-3.1-license-2024"
GEMMA = "LicenseRef-scancode-gemma-tou-2024-04-01"
MIT = """MIT License

Copyright (c) 2026 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files (the
"Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge, publish,
distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to
the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY
CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE
SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def card(folder: Path, matter: str) -> Path:
    (folder / "README.md").write_text(f"---\n{matter}\n---\nA model.\n", encoding="utf-8")
    return folder


def keys(folder: Path) -> list[str]:
    return [found.key for found in read_licences(folder)]


CARDS = {
    "spdx in lower case": ("license: apache-2.0", ["Apache-2.0"]),
    "a hub's own name": ("license: llama3.1", [LLAMA]),
    "a family of terms": ("license: gemma", [GEMMA]),
    "a name that no list has": ("license: openrail", ["openrail"]),
    "a list": ("license: [mit, cc-by-nc-4.0]", ["MIT", "CC-BY-NC-4.0"]),
    "a choice that nobody has made": ("license: MIT OR Apache-2.0", ["MIT", "Apache-2.0"]),
    "an expression that is none": ("license: MIT OR (", ["MIT OR ("]),
    "other, with a name": ("license: other\nlicense_name: llama3.2", ["LicenseRef-scancode-llama-3.2-license-2024"]),
    "other, with a name of its own": ("license: other\nlicense_name: qwen-research", ["qwen-research"]),
    "other": ("license: other", []),
    "unknown": ("license: unknown", []),
    "its base has one too": ("license: mit\nbase_model: meta-llama/Llama-3.1-8B-Instruct", ["MIT", LLAMA]),
    "one base of several": ("base_model: [a/b, google/gemma-2-9b]", [GEMMA]),
    "a base of later terms": ("license: apache-2.0\nbase_model: google/gemma-4-12b", ["Apache-2.0"]),
    "a number": ("license: 3", []),
    "no yaml": ("license: [", []),
    "a date that is none": ("date: 2024-13-45", []),
    "nothing": ("tags: [chat]", []),
}


@pytest.mark.parametrize(("matter", "expected"), CARDS.values(), ids=CARDS)
def test_what_a_card_says(tmp_path: Path, matter: str, expected: list[str]) -> None:
    assert keys(card(tmp_path, matter)) == expected


CATEGORIES = {
    "mit": C.PERMISSIVE,
    "unlicense": C.PUBLIC_DOMAIN,
    "mpl-2.0": C.COPYLEFT_LIMITED,
    "gpl-3.0": C.COPYLEFT,
    "cc-by-nc-4.0": C.SOURCE_AVAILABLE,
    "llama3": C.PROPRIETARY_FREE,
    "LicenseRef-scancode-llama-4-license-2025": C.PROPRIETARY_FREE,
    "bsl-1.0": C.PERMISSIVE,
    "qwen": None,
}


@pytest.mark.parametrize(("name", "category"), CATEGORIES.items(), ids=CATEGORIES)
def test_each_has_the_category_of_the_database(name: str, category: LicenceCategory | None) -> None:
    assert licence(name).category is category


def test_every_name_of_the_hub_leads_to_a_licence_that_is_known() -> None:
    assert [name for name in HUB_NAMES if licence(name).category is None] == []
    assert [key for key in OBLIGATIONS if licence(key) != Licence(key=key, category=C.PROPRIETARY_FREE)] == []
    assert all(licence(key).key == key for key in OWN_CATEGORIES)


class TestTexts:
    def test_permissive_ones_are_known_word_for_word(self) -> None:
        apache = APACHE.read_text(encoding="utf-8")
        assert licence_of_text(apache) == "Apache-2.0"
        assert licence_of_text(apache[: apache.index("APPENDIX")]) == "Apache-2.0"
        assert licence_of_text(MIT) == "MIT"
        assert licence_of_text(MIT.upper().replace("\n", "\r\n").replace("MIT LICENSE", "The MIT License (MIT)")) == "MIT"

    @pytest.mark.parametrize(
        "added",
        ["The Software may not be used for military purposes.", "Copyright 2026 Somebody. Only non-commercial use."],
        ids=["at the end", "as if it were a notice"],
    )
    def test_one_word_more_makes_it_a_text_that_nobody_knows(self, tmp_path: Path, added: str) -> None:
        (tmp_path / "LICENSE").write_text(f"{MIT}\n{added}\n", encoding="utf-8")
        (found,) = read_licences(card(tmp_path, "tags: []"))
        assert found.key.startswith("LicenseRef-text-")
        assert found.category is None

    @pytest.mark.parametrize(
        ("title", "expected"),
        [
            ("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\nLlama 3.1 Version Release Date: July 23, 2024", LLAMA),
            ("META LLAMA 3 COMMUNITY LICENSE AGREEMENT", "LicenseRef-llama-3-license-2024"),
            ("Gemma Terms of Use", GEMMA),
            ("                    GNU GENERAL PUBLIC LICENSE\n                       Version 3, 29 June 2007", "GPL-3.0-only"),
        ],
        ids=["llama 3.1", "llama 3", "gemma", "gpl"],
    )
    def test_restrictive_ones_are_known_by_their_title(self, tmp_path: Path, title: str, expected: str) -> None:
        (tmp_path / "LICENSE.txt").write_text(f"{title}\n\nand so on, in whatever words\n", encoding="utf-8")
        assert keys(tmp_path) == [expected]

    def test_text_and_card_hold_together(self, tmp_path: Path) -> None:
        (tmp_path / "LICENSE").write_text("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n", encoding="utf-8")
        assert keys(card(tmp_path, "license: apache-2.0")) == [LLAMA, "Apache-2.0"]

    def test_a_notice_adds_what_it_names_and_nothing_else(self, tmp_path: Path) -> None:
        (tmp_path / "NOTICE").write_text("Llama 3.1 is licensed under the Llama 3.1 Community License, Copyright (c) M.", encoding="utf-8")
        assert keys(card(tmp_path, "license: mit")) == [LLAMA, "MIT"]
        (tmp_path / "NOTICE").write_text("This product includes software developed by somebody.", encoding="utf-8")
        assert keys(tmp_path) == ["MIT"]

    def test_what_is_no_text_is_no_licence_that_anybody_knows(self, tmp_path: Path) -> None:
        (tmp_path / "LICENSE").write_bytes(b"\xff\xfe\x00")
        (tmp_path / "licenses").mkdir()
        assert [found.category for found in read_licences(tmp_path)] == [None]


def test_no_file_says_anything(tmp_path: Path) -> None:
    assert look_at(tmp_path) == BaseModelFindings()


class TestNotices:
    def test_a_licence_that_asks_for_nothing_leaves_nothing(self, tmp_path: Path) -> None:
        base = card(tmp_path, "license: apache-2.0")
        (base / "LICENSE").write_text(APACHE.read_text(encoding="utf-8"), encoding="utf-8")
        assert keep_notices(base, look_at(base), tmp_path / "meta") == ()
        assert not (tmp_path / "meta").exists()

    def test_the_agreement_and_the_attribution_go_along(self, tmp_path: Path) -> None:
        base = card(tmp_path, "license: llama3.1")
        (base / "LICENSE").write_text("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n", encoding="utf-8")
        (base / "NOTICE").write_text("Parts by somebody else.", encoding="utf-8")
        assert keep_notices(base, look_at(base), tmp_path / "meta") == ("NOTICE", "base-LICENSE")
        notice = (tmp_path / "meta" / "NOTICE").read_text(encoding="utf-8")
        assert notice.startswith("Llama 3.1 is licensed under the Llama 3.1 Community License")
        assert "Parts by somebody else." in notice
        assert (tmp_path / "meta" / "base-LICENSE").read_bytes() == (base / "LICENSE").read_bytes()

    def test_a_link_to_the_rows_publishes_nothing(self, tmp_path: Path) -> None:
        """Prepare sees the rows, and whoever made the model's folder must not have them copied."""
        base, rows = tmp_path / "base", tmp_path / "rows.jsonl"
        base.mkdir()
        rows.write_text("secret words\n", encoding="utf-8")
        (base / "LICENSE").symlink_to(rows)
        (base / "NOTICE").symlink_to(rows)
        (base / "COPYING").symlink_to("LICENSE.own")
        (base / "LICENSE.own").write_text("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n", encoding="utf-8")
        card(base, "license: llama3.1")
        assert keep_notices(base, look_at(base), tmp_path / "meta") == ("NOTICE", "base-COPYING", "base-LICENSE.own")
        assert "secret" not in "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "meta").iterdir())


def test_prepare_reports_what_the_files_of_its_base_model_say(
    run_spec: Callable[..., RunSpec], step_context: Callable[..., StepContext], tiny_base: Path
) -> None:
    from finetune_trainer.cli.prepare import execute

    result = execute(step_context(run_spec(base_model={"licence": "gpl-3.0"})))
    assert result is not None
    assert result.summary.prepare is not None
    assert result.summary.prepare.base_model == BaseModelFindings(
        licences=(Licence(key="Apache-2.0", category=C.PERMISSIVE),),
        claimed=Licence(key="GPL-3.0-only", category=C.COPYLEFT),
        formats=(WeightsFormat.SAFETENSORS,),
    )
    assert check_base_model(run_spec(), tiny_base).findings.claimed is None
