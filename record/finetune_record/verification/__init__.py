"""Is this adapter what its record says, and has nobody changed a byte since? Asked of a copied folder, without cluster and network."""

from finetune_record.verification.found import Found
from finetune_record.verification.verify import Evidence, Verification, verify

__all__ = ["Evidence", "Found", "Verification", "verify"]
