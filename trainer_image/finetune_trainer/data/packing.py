"""Raw text in rows of equal length: long documents are never cut off, they go on in the next row.

``wrapped`` (the GPT way): documents, each closed by the end-of-text token, are laid end to end and cut into rows of exactly the maximum
length. Without packing a document fills as many rows as it needs and the next begins a new one.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from finetune_trainer.data.tokenization import TokenizedRow


def wrapped(rows: Iterable[TokenizedRow], length: int) -> Iterator[TokenizedRow]:
    """Rows of ``length`` tokens over all documents; the last one holds the rest. A row is named after the document it begins with."""
    ids, mask, row, pending = [], [], 0, 0
    for document in rows:
        if pending == 0:
            row = document.row
        ids.append(document.input_ids)
        mask.append(document.loss_mask)
        pending += len(document.input_ids)
        if pending >= length:
            all_ids, all_mask = np.concatenate(ids), np.concatenate(mask)
            whole = pending - pending % length
            for start in range(0, whole, length):
                yield TokenizedRow(row if start == 0 else document.row, all_ids[start : start + length], all_mask[start : start + length])
            ids, mask, row, pending = [all_ids[whole:]], [all_mask[whole:]], document.row, pending - whole
    if pending > 1:  # a single token predicts nothing
        yield TokenizedRow(row, np.concatenate(ids), np.concatenate(mask))


def chunked(rows: Iterable[TokenizedRow], length: int) -> Iterator[TokenizedRow]:
    """Each document in rows of at most ``length`` tokens, sharing no row with another."""
    for document in rows:
        for start in range(0, len(document.input_ids), length):
            ids = document.input_ids[start : start + length]
            if len(ids) > 1 or len(document.input_ids) == 1:
                yield TokenizedRow(document.row, ids, document.loss_mask[start : start + length])
