"""What the preflight step leaves behind: whether an artifact can be served, said before any server pod is touched."""

from pydantic import Field

from finetune_inference.contract.desired import Finding
from finetune_inference.contract.record import AdapterRecord
from finetune_trainer.contract import Digest
from finetune_trainer.contract.base import Named


class PreflightResult(Named):
    """Small enough for a termination message: ``left_out`` counts the findings that did not fit."""

    kind: str = Field(default="PreflightResult", pattern="^PreflightResult$")
    digest: Digest
    compatible: bool
    findings: list[Finding] = Field(default_factory=list, max_length=16)
    record: AdapterRecord | None = Field(default=None, description="What the record beside the artifact says; None by an older image.")
    left_out: int = Field(default=0, ge=0)

    @classmethod
    def of(cls, digest: Digest, findings: tuple[Finding, ...], limit: int, record: AdapterRecord | None = None) -> "PreflightResult":
        """With as many findings as fit into ``limit`` bytes of JSON."""
        for count in range(min(len(findings), 16), -1, -1):
            left_out = len(findings) - count
            result = cls(digest=digest, compatible=not findings, findings=list(findings[:count]), record=record, left_out=left_out)
            if len(result.to_json().encode()) <= limit:
                return result
        return result.model_copy(update={"record": None})  # nobody knows it then, which allows nothing
