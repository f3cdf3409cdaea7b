"""Which licence a text is: a permissive one word for word, a restrictive one by its title.

A text that allows much must be the known one in every word, because what somebody has added to it may take it all back. For one that
restricts, its title is enough: to take a text for it can only be too strict. Compared are words alone: case, punctuation, line breaks and
lines of copyright do not count.
"""

import re
from typing import Final

from finetune_trainer.contract import digest_of

_WORD = re.compile(r"[a-z0-9]+")
_COPYRIGHT = re.compile(r"^\W*(copyright|\(c\)|©)\W*((\(c\)|©|[0-9]{4}|\[yyyy\])[^\n]{0,120})?$", re.IGNORECASE)
_TERM = re.compile(r"\b(use|used|only|not|must|may|shall|licen[cs]e\w*|permi\w*|restrict\w*|commercial\w*)\b", re.IGNORECASE)
_HEADINGS = ("the mit license mit", "the mit license", "mit license", "bsd 3 clause license", "bsd 2 clause license", "all rights reserved")

WORD_FOR_WORD: Final = {
    "sha256:e87dea5078ce2faaea46d3475af18d30a5c0ac0f09425b60b3e0c6569f72f8d2": "Apache-2.0",
    "sha256:f45538b138cf9aea39fa205de037a0bede8305e68281650e7ab809a8b3ebb2f0": "Apache-2.0",  # without its appendix
    "sha256:0cf21bdfd1964a97a8615e128534845826afbc887edc95aa5c925cbf64386b5c": "MIT",
    "sha256:9b83d3dee0616d07b82a272dd9bf5134a9f402b750f5ee6188458073b0a32ff2": "BSD-3-Clause",
    "sha256:53075742228962c7ea381b8242c64602fa32e7b8f52facb6d13ee4f9c596ddfa": "BSD-3-Clause",  # without numbers
    "sha256:a56fee4b2f66331ed54da4950ef9c9391453fd1490b4d8ea202bc29683bcbd30": "BSD-2-Clause",
    "sha256:986c3c3199a93b916c8f2e0aeed57819bcbdcb2cd9d99902dcc9d74b53f93a74": "BSD-2-Clause",  # without numbers
    "sha256:2db062dd40e7bec05f856fa75834d18d15b06014d537775860dd1f054a5f0389": "CC-BY-4.0",
}
"""By the digest of the words of the whole text."""

BY_TITLE: Final = {
    "llama 2 community license agreement": "LicenseRef-scancode-llama-2-license-2023",
    "meta llama 3 community license agreement": "LicenseRef-llama-3-license-2024",
    "llama 3 1 community license": "LicenseRef-scancode-llama-3.1-license-2024",
    "llama 3 2 community license": "LicenseRef-scancode-llama-3.2-license-2024",
    "llama 3 3 community license": "LicenseRef-scancode-llama-3.3-license-2024",
    "llama 4 community license": "LicenseRef-scancode-llama-4-license-2025",
    "gemma terms of use": "LicenseRef-scancode-gemma-tou-2024-04-01",
    "falcon 2 11b tii license version 1 0": "LicenseRef-scancode-falcon-2-11b-1.0",
    "bigscience rail license": "LicenseRef-scancode-bigscience-rail-1.0",
    "bigcode open rail m": "LicenseRef-scancode-bigcode-open-rail-m-v1",
    "tongyi qianwen license agreement": "LicenseRef-scancode-tongyi-qianwen-2023",
    "deepseek license agreement": "LicenseRef-scancode-deepseek-la-1.0",
    "nvidia open model license agreement": "LicenseRef-scancode-nvidia-open-model-2025-04-28",
    "gnu affero general public license version 3": "AGPL-3.0-only",
    "gnu lesser general public license version 3": "LGPL-3.0-only",
    "gnu general public license version 3": "GPL-3.0-only",
    "gnu general public license version 2": "GPL-2.0-only",
    "attribution noncommercial 4 0 international": "CC-BY-NC-4.0",
    "attribution noncommercial sharealike 4 0 international": "CC-BY-NC-SA-4.0",
    "attribution noncommercial noderivatives 4 0 international": "CC-BY-NC-ND-4.0",
    "attribution sharealike 4 0 international": "CC-BY-SA-4.0",
}
"""By a title in words, as the text or its notice spells it."""

_BEGINNING = 400
"""A title stands among the first words; further down, another licence may only be mentioned."""


def licence_of_text(text: str) -> str:
    """The key of the licence; ``LicenseRef-text-<16 hex digits>`` for a text that is none of the known, by which a policy can name it."""
    words = words_of(text)
    found = WORD_FOR_WORD.get(digest_of(words.encode()))
    return found or by_title(words) or f"LicenseRef-text-{digest_of(words.encode())[7:23]}"


def by_title(words: str) -> str | None:
    """The key of a restrictive licence whose title is among the first words."""
    beginning = f" {' '.join(words.split()[:_BEGINNING])} "
    return next((key for title, key in BY_TITLE.items() if f" {title} " in beginning), None)


def words_of(text: str) -> str:
    """What of a text is compared."""
    lines = (line for line in text.splitlines() if not (_COPYRIGHT.match(line.strip()) and not _TERM.search(line)))
    words = " ".join(_WORD.findall(" ".join(lines).casefold()))
    for heading in _HEADINGS:
        words = words.removeprefix(heading).strip()
    return words
