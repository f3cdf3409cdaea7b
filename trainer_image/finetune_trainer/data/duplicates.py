"""Rows that say the same twice, and held-out items that the model has seen: both make results look better than they are.

Near duplicates are found with MinHash over word triples (Broder, 1997) and banding (Leskovec, Rajaraman, Ullman: Mining of Massive
Datasets, chapter 3). Hashes are CRC-32 based, so that the count does not depend on the process.
"""

import re
import zlib
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.data.examples import Example
from finetune_trainer.data.split import sample

_WORD = re.compile(r"\w+")
_PERMUTATIONS, _BANDS = 32, 8
_PRIME = np.uint64((1 << 61) - 1)
_SIMILAR = 0.85
_LARGEST_BUCKET = 50
_ROWS, _WORDS, _CHUNK = 50_000, 1_000, 2_000
"""Bounds of the search for near repeats: more rows are sampled, longer texts judged by their beginning, chunks keep memory small."""


def exact_duplicates(examples: Iterable[Example]) -> int:
    """How many rows repeat an earlier one."""
    hashes = [example.content_hash() for example in examples]
    return len(hashes) - len(set(hashes))


def near_duplicates(examples: Sequence[Example]) -> int:
    """How many rows are, word for word, at least 85 % like an earlier row (estimated), exact repeats included.

    Among more than 50,000 rows as many are sampled, and the count is scaled up: a lower bound, since repeats are missed with their twin.
    """
    if len(examples) < 2:
        return 0
    judged = sample(examples, _ROWS)
    return round(_count_similar(_signatures([example.plain() for example in judged])) * len(examples) / len(judged))


def _count_similar(signatures: NDArray[np.uint64]) -> int:
    width = _PERMUTATIONS // _BANDS
    buckets: dict[tuple[int, bytes], list[int]] = {}
    found = 0
    for index, signature in enumerate(signatures):
        candidates: set[int] = set()
        for band in range(_BANDS):
            bucket = buckets.setdefault((band, signature[band * width : (band + 1) * width].tobytes()), [])
            candidates.update(bucket)
            if len(bucket) < _LARGEST_BUCKET:
                bucket.append(index)
        if candidates and float((signatures[sorted(candidates)] == signature).mean(axis=1).max()) >= _SIMILAR:
            found += 1
    return found


def without_overlap(items: Sequence[Example], train: Iterable[Example]) -> tuple[list[Example], int]:
    """The items whose question no training row asks (letter case, punctuation and spacing aside), and how many were taken out."""
    seen = {_question(example) for example in train}
    kept = [item for item in items if _question(item) not in seen]
    return kept, len(items) - len(kept)


def _question(example: Example) -> str:
    return " ".join(_WORD.findall(example.plain_prompt().casefold()))


def _signatures(texts: Sequence[str]) -> NDArray[np.uint64]:
    """One row of ``_PERMUTATIONS`` minima per text."""
    random = np.random.default_rng(0x5EED)
    factors = random.integers(1, 1 << 29, size=_PERMUTATIONS, dtype=np.uint64)
    offsets = random.integers(0, 1 << 60, size=_PERMUTATIONS, dtype=np.uint64)
    signatures = np.empty((len(texts), _PERMUTATIONS), dtype=np.uint64)
    for first in range(0, len(texts), _CHUNK):
        hashes, starts = _shingles(texts[first : first + _CHUNK])
        for number in range(_PERMUTATIONS):
            minima = np.minimum.reduceat((hashes * factors[number] + offsets[number]) % _PRIME, starts)
            signatures[first : first + _CHUNK, number] = minima
    return signatures


def _shingles(texts: Sequence[str]) -> tuple[NDArray[np.uint64], list[int]]:
    """Hashes of the word triples of all texts, and where each text's begin."""
    hashes: list[int] = []
    starts: list[int] = []
    for text in texts:
        words = [match.group() for match in islice(_WORD.finditer(text.casefold()), _WORDS)] or [text]
        starts.append(len(hashes))
        triples = zip(words, words[1:], words[2:], strict=False) if len(words) > 2 else [tuple(words)]
        hashes.extend(zlib.crc32(" ".join(triple).encode()) for triple in triples)
    return np.array(hashes, dtype=np.uint64), starts
