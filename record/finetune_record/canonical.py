"""One spelling for every statement: RFC 8785 (JSON Canonicalization Scheme), and the digest of it."""

from typing import Any

import rfc8785

from finetune_trainer.contract import Digest, digest_of


def canonical(value: Any) -> bytes:
    """RFC 8785 JSON. Raises ``ValueError`` for what has no such spelling: numbers beyond 2^53, not-a-number, keys that are no text."""
    return rfc8785.dumps(value)


def canonical_digest(value: Any) -> Digest:
    """``sha256:<hex>`` of the canonical bytes."""
    return digest_of(canonical(value))
