"""What ``finetune-trainer merge`` is asked for: one base model, one adapter, and where the model made of both goes."""

from pydantic import Field

from finetune_trainer.contract.base import Digest, Document, canonical_json, digest_of

MERGE_FORMAT = 1
"""Counts up when the same inputs give another merged model: a finished one of an older format then answers no more."""
_ANY = r"^[^\x00-\x1f]+$"


class MergeRequest(Document):
    """Folders are those in the pod; the digests say what must lie in them. URIs name the same places for people and in what is published.

    Without ``base_uri`` the adapter's own ``finetune.json`` has to name the base model.
    """

    base_path: str = Field(max_length=4096, pattern=_ANY)
    base_digest: Digest = Field(description="As the prepare step took it: names and contents of all files that are not hidden.")
    base_uri: str | None = Field(default=None, max_length=2048, pattern=_ANY)
    adapter_path: str = Field(max_length=4096, pattern=_ANY)
    adapter_digest: Digest = Field(description="The artifact's digest, as the publish step told it.")
    adapter_uri: str | None = Field(default=None, max_length=2048, pattern=_ANY)
    out_path: str = Field(max_length=4096, pattern=_ANY, description="The model lands in <out_path>/<digest hex>.")
    out_uri: str | None = Field(default=None, max_length=2048, pattern=_ANY)

    @property
    def identity(self) -> Digest:
        """Digest of what decides the result, wherever it lies: equal requests find each other's finished model."""
        return digest_of(canonical_json(["merge", MERGE_FORMAT, self.base_digest, self.adapter_digest]).encode())

    @property
    def key(self) -> str:
        """The identity as 64 hexadecimal digits, in the place of a run key."""
        return self.identity.removeprefix("sha256:")
