"""What a licence asks of a model that comes of it: a first word of its name, a notice, an attribution, the agreement among the files.

Keys are SPDX's, or ScanCode's for what SPDX does not know, or ours for the one that neither knows. Sources: section 1.b of the community
licence agreements of Llama 2, 3, 3.1, 3.2, 3.3 and 4, of which those from 3.1 on ask for the same also where only outputs of such a model
were used to train another one; section 3.1 of the Gemma terms of use.
"""

from typing import Final

from pydantic import Field

from finetune_trainer.contract.base import Document
from finetune_trainer.contract.model import BaseModelFindings

LicenceKey = str


class Obligation(Document):
    """What travels with the adapter to whatever serves it. ``licence_text`` asks for the agreement itself beside the files."""

    licence: LicenceKey = Field(max_length=128)
    name_prefix: str = Field(default="", max_length=64, description="How the name of the model must begin.")
    notice: str = Field(default="", max_length=256, description="What must be shown beside it.")
    attribution: str = Field(default="", max_length=256, description="What a file NOTICE among the copies must say.")
    licence_text: bool = False
    reaches_outputs: bool = Field(default=False, description="Holds also for models trained on what such a model has written.")


def _llama(version: str, key: str, prefix: str = "Llama", notice: str = "Built with Llama", *, reaches_outputs: bool = True) -> Obligation:
    attribution = f"{version} is licensed under the {version} Community License, Copyright (c) Meta Platforms, Inc. All Rights Reserved."
    return Obligation(
        licence=key, name_prefix=prefix, notice=notice, attribution=attribution, licence_text=True, reaches_outputs=reaches_outputs
    )


_SCANCODE = "LicenseRef-scancode-"
_GEMMA = "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"

OBLIGATIONS: Final = {
    obligation.licence: obligation
    for obligation in (
        _llama("Llama 2", f"{_SCANCODE}llama-2-license-2023", "", "", reaches_outputs=False),
        _llama("Meta Llama 3", "LicenseRef-llama-3-license-2024", "Llama 3", "Built with Meta Llama 3", reaches_outputs=False),
        _llama("Llama 3.1", f"{_SCANCODE}llama-3.1-license-2024"),
        _llama("Llama 3.2", f"{_SCANCODE}llama-3.2-license-2024"),
        _llama("Llama 3.3", f"{_SCANCODE}llama-3.3-license-2024"),
        _llama("Llama 4", f"{_SCANCODE}llama-4-license-2025"),
        _llama("Llama 4", f"{_SCANCODE}llama-4-cla-2025"),
        Obligation(licence=f"{_SCANCODE}gemma-tou-2024-04-01", attribution=_GEMMA, licence_text=True),
    )
}
"""By licence key; a licence that is not here asks for nothing that can be checked by machine."""


def obligations_of(findings: BaseModelFindings) -> tuple[Obligation, ...]:
    """What the licences of a base model ask for, in their order."""
    return tuple(OBLIGATIONS[licence.key] for licence in findings.licences if licence.key in OBLIGATIONS)
