"""Under which licences a base model stands, by its own files: the texts that lie beside it, and what its card says.

A licence belongs to a revision and not to a family of models, so nothing but the files is asked: no network, no list of models. All that is
found holds together. Names are those of the ScanCode licence database (`license-expression` brings its index along): SPDX's where SPDX
knows the licence, else ``LicenseRef-scancode-…``; what is in neither is reported as it is written, without a category.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from license_expression import ExpressionError, Licensing, get_license_index

from finetune_trainer.contract.model import Licence, LicenceCategory
from finetune_trainer.data.licence_texts import by_title, licence_of_text, words_of

MOST = 8
_TEXTS, _NOTICES = re.compile(r"(licen[cs]e|copying)([-_.].*)?", re.IGNORECASE), re.compile(r"notice([-_.].*)?", re.IGNORECASE)
LARGEST_TEXT, _LARGEST_MATTER = 1 << 20, 1 << 16
_EXPRESSION = re.compile(r"\s(and|or|with)\s|[()]", re.IGNORECASE)

HUB_NAMES: Final = {
    "llama2": "LicenseRef-scancode-llama-2-license-2023",
    "llama3": "LicenseRef-llama-3-license-2024",
    "llama3.1": "LicenseRef-scancode-llama-3.1-license-2024",
    "llama3.2": "LicenseRef-scancode-llama-3.2-license-2024",
    "llama3.3": "LicenseRef-scancode-llama-3.3-license-2024",
    "llama4": "LicenseRef-scancode-llama-4-license-2025",
    "gemma": "LicenseRef-scancode-gemma-tou-2024-04-01",
    "bigscience-bloom-rail-1.0": "LicenseRef-scancode-bigscience-rail-1.0",
    "bigscience-openrail-m": "LicenseRef-scancode-bigscience-open-rail-m",
    "bigcode-openrail-m": "LicenseRef-scancode-bigcode-open-rail-m-v1",
    "tongyi-qianwen": "LicenseRef-scancode-tongyi-qianwen-2023",
    "deepseek": "LicenseRef-scancode-deepseek-la-1.0",
    "deepseek-license": "LicenseRef-scancode-deepseek-la-1.0",
    "nvidia-open-model-license": "LicenseRef-scancode-nvidia-open-model-2025-04-28",
    "odc-by": "ODC-By-1.0",
    "pddl": "PDDL-1.0",
    "lgpl-lr": "LGPLLR",
}
"""What the model hub's cards write and no licence list knows."""

SAYS_NOTHING: Final = frozenset({"other", "unknown", "unlicensed", "none", ""})
"""What a card writes where it names no licence; ``license_name`` may name one."""

OWN_CATEGORIES: Final = {"LicenseRef-llama-3-license-2024": LicenceCategory.PROPRIETARY_FREE}
"""Of licences that are missing in the database."""

FAMILIES: Final = (
    (re.compile(r"meta-llama/(meta-)?llama-3\.1-", re.IGNORECASE), "llama3.1"),
    (re.compile(r"meta-llama/llama-3\.2-", re.IGNORECASE), "llama3.2"),
    (re.compile(r"meta-llama/llama-3\.3-", re.IGNORECASE), "llama3.3"),
    (re.compile(r"meta-llama/llama-4-", re.IGNORECASE), "llama4"),
    (re.compile(r"meta-llama/meta-llama-3-", re.IGNORECASE), "llama3"),
    (re.compile(r"meta-llama/llama-2-", re.IGNORECASE), "llama2"),
    (re.compile(r"google/gemma-([23]n?-|[0-9]+b)", re.IGNORECASE), "gemma"),
)
"""Models that a card may name as its base and whose licence follows whatever is made of them."""


def read_licences(folder: Path) -> tuple[Licence, ...]:
    """The licences that the files of ``folder`` name, each once, at most ``MOST``; none where they name none."""
    keys = [*_of_texts(folder), *_of_card(_front_matter(folder / "README.md"))]
    return tuple(licence(key) for key in dict.fromkeys(keys))[:MOST]


def licence(name: str) -> Licence:
    """The licence of this name, as SPDX, ScanCode or the model hub spells it; any other is kept as it is written."""
    written = " ".join(name.split())[:128]
    key = HUB_NAMES.get(written.casefold(), written)
    known, category = _index().get(key.casefold(), (key, OWN_CATEGORIES.get(key)))
    return Licence(key=known, category=category)


def text_files(folder: Path) -> list[Path]:
    """The licence texts beside a model."""
    return sorted(path for path in folder.iterdir() if _TEXTS.fullmatch(path.name) and path.is_file())


def notice_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _NOTICES.fullmatch(path.name) and path.is_file())


def _of_texts(folder: Path) -> Iterator[str]:
    """A notice may attribute to others, so that of one only the restrictive licences count which it names."""
    yield from (licence_of_text(_text(path, LARGEST_TEXT)) for path in text_files(folder))
    titles = (by_title(words_of(_text(path, LARGEST_TEXT))) for path in notice_files(folder))
    yield from (title for title in titles if title is not None)


def _of_card(matter: dict[str, Any]) -> Iterator[str]:
    for written in _texts(matter.get("license")):
        names = [written] if written.casefold() not in SAYS_NOTHING else _texts(matter.get("license_name"))
        for name in names:
            yield from (licence(each).key for each in _named(name))
    for model in _texts(matter.get("base_model")):
        yield from (licence(name).key for pattern, name in FAMILIES if pattern.match(model))


def _named(written: str) -> Iterable[str]:
    """The names in an expression such as ``MIT OR Apache-2.0``: all of them, since nobody has chosen yet."""
    if not _EXPRESSION.search(written):
        return [written] if written else []
    try:
        return [str(key) for key in Licensing().license_keys(written)]
    except ExpressionError:
        return [written]


def _texts(value: Any) -> list[str]:
    entries = value if isinstance(value, list) else [value]
    return [entry.strip() for entry in entries if isinstance(entry, str) and entry.strip()][:MOST]


def _front_matter(card: Path) -> dict[str, Any]:
    if not card.is_file():
        return {}
    text = _text(card, _LARGEST_MATTER).removeprefix("\ufeff")
    end = text.find("\n---", 3) if text.startswith("---") else -1
    if end < 0:
        return {}
    try:
        matter = yaml.safe_load(text[3:end])
    except (yaml.YAMLError, ValueError):  # a date that is none is a ValueError
        return {}
    return matter if isinstance(matter, dict) else {}


def _text(path: Path, limit: int) -> str:
    with path.open("rb") as stream:
        return stream.read(limit).decode("utf-8", errors="replace")


@cache
def _index() -> dict[str, tuple[str, LicenceCategory | None]]:
    """By every spelling of the database, in lower case: key and category. SPDX's spelling counts where both use one for two licences."""
    of_database: dict[str, tuple[str, LicenceCategory | None]] = {}
    of_spdx: dict[str, tuple[str, LicenceCategory | None]] = {}
    categories = {category.value: category for category in LicenceCategory}
    for entry in get_license_index():
        own = str(entry["license_key"])
        key = str(entry.get("spdx_license_key") or f"LicenseRef-scancode-{own}")
        found = key, categories.get(str(entry.get("category")))
        of_database[own.casefold()] = found
        of_spdx |= {str(name).casefold(): found for name in (*entry.get("other_spdx_license_keys", ()), key)}
    return of_database | of_spdx
