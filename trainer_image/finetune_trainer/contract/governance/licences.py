"""What a licence asks of a model that comes of it: a first word of its name, a notice, the agreement among the files.

Keys are SPDX's, or ScanCode's for what SPDX does not know. Source of the obligations: section 1.b of the Llama 3.1, 3.2, 3.3 and 4
community licence agreements, which ask for the same also where only outputs of such a model were used to train another one.
"""

from typing import Final

from pydantic import Field

from finetune_trainer.contract.base import Document

LicenceKey = str


class Obligation(Document):
    """What travels with the adapter to whatever serves it."""

    licence: LicenceKey = Field(max_length=128)
    name_prefix: str = Field(default="", max_length=64, description="How the name of the model must begin.")
    notice: str = Field(default="", max_length=256, description="What must be shown beside it.")
    reaches_outputs: bool = Field(default=False, description="Holds also for models trained on what such a model has written.")


_LLAMA = {"name_prefix": "Llama", "notice": "Built with Llama", "reaches_outputs": True}
_LLAMA_KEYS = ("llama-3.1-license-2024", "llama-3.2-license-2024", "llama-3.3-license-2024", "llama-4-license-2025", "llama-4-cla-2025")

OBLIGATIONS: Final = {
    key: Obligation(licence=key, **_LLAMA)  # type: ignore[arg-type]
    for key in (f"LicenseRef-scancode-{name}" for name in _LLAMA_KEYS)
}
"""By licence key; a licence that is not here asks for nothing that can be checked by machine."""
