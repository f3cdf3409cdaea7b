"""Names in rows, by Presidio over a spaCy pipeline that the site has put into the image: an extra of the trainer (requirements/names.in).

Nothing is fetched and nothing of the model is executed: see `model` for what a folder may hold, `finder` for what keeps libraries silent.
"""

import os
from pathlib import Path
from typing import Final

from finetune_trainer.identifiers.names import NameFinder
from finetune_trainer.pod.errors import ConfigurationError

FOLDER: Final = "/opt/finetune-names"
"""Where an image holds its model, unless it says otherwise itself in ``FINETUNE_NAME_MODEL``."""
HINT: Final = "Build the trainer image as docs/governance/scanning.md says, or leave the model out of it: then nobody looks for names."


def name_finder(folder: Path | None = None) -> NameFinder | None:
    """Who looks for names; None in an image without a model.

    Raises:
        ConfigurationError: there is a model that cannot be used, or nothing to run it. The image was made to look for names, so a run that
            does not would be worse than none.
    """
    asked = os.environ.get("FINETUNE_NAME_MODEL")
    place = folder or Path(asked or FOLDER)
    if not place.is_dir() and folder is None and not asked:
        return None
    try:
        from finetune_trainer.names.finder import open_finder  # noqa: PLC0415 - the extra is not in every image
    except ModuleNotFoundError as missing:
        message = f"trainer image: there is a model in {place} that finds names, and nothing that runs it: no {missing.name}"
        raise ConfigurationError("NameModelUnusable", message, HINT) from missing
    return open_finder(place)
