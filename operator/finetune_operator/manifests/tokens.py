"""The bearer token of a run's progress server: derived, so that it is stored nowhere and every replica of the operator knows it."""

import hashlib
import hmac

from finetune_trainer.contract import digest_of


def progress_token(key: bytes, uid: str, run_key: str) -> str:
    """Hex HMAC-SHA256 over uid and run key; ``key`` is the operator's secret."""
    return hmac.new(key, f"{uid}/{run_key}".encode(), hashlib.sha256).hexdigest()


def progress_token_digest(key: bytes, uid: str, run_key: str) -> str:
    """What the pod is given: it recognises the token and cannot produce it."""
    return digest_of(progress_token(key, uid, run_key).encode())
