"""What is derived from a record for other people's readers and tools. None is authoritative: each names the record that it is made of.

The same record makes the same bytes: no clock, no chance, no machine.
"""

from collections.abc import Callable
from typing import Final

from finetune_record.exports.cyclonedx import bill_of_materials
from finetune_record.exports.dossier import dossier
from finetune_record.exports.model_card import model_card
from finetune_record.exports.openlineage import lineage_events
from finetune_record.statement import Statement

FORMATS: Final[dict[str, Callable[[Statement], str]]] = {
    "dossier": dossier,
    "model-card": model_card,
    "cyclonedx": bill_of_materials,
    "openlineage": lineage_events,
}
"""Every format by its name."""
