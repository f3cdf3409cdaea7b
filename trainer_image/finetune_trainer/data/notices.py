"""What some licences want beside every copy of what is made of a model: the agreement itself, and a file NOTICE with its attribution.

The train and the publish step do not see the whole base model, so prepare puts both where they travel along. Nothing is written for a
licence that asks for nothing.
"""

import shutil
from pathlib import Path

from finetune_trainer.contract.governance.licences import obligations_of
from finetune_trainer.contract.model import BaseModelFindings
from finetune_trainer.data.licences import LARGEST_TEXT, notice_files, text_files
from finetune_trainer.pod.sealing import write_sealed

NOTICE = "NOTICE"
TEXT_PREFIX = "base-"
"""Before the name of a licence text of the base model, which is not the adapter's own."""


def keep_notices(base: Path, findings: BaseModelFindings, folder: Path) -> tuple[str, ...]:
    """Write into ``folder`` what the licences of ``base`` ask for; the names of the files, none where nothing is asked for."""
    obligations = obligations_of(findings)
    if not obligations:
        return ()
    folder.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    lines = [obligation.attribution for obligation in obligations if obligation.attribution]
    if lines:
        own = [path.read_text(encoding="utf-8", errors="replace").strip() for path in notice_files(base) if _goes_along(path, base)]
        write_sealed(folder / NOTICE, "\n\n".join([*lines, *(text for text in own if text not in lines)]) + "\n")
        names.append(NOTICE)
    for path in text_files(base) if any(obligation.licence_text for obligation in obligations) else ():
        if _goes_along(path, base):
            shutil.copyfile(path, folder / f"{TEXT_PREFIX}{path.name}")
            names.append(f"{TEXT_PREFIX}{path.name}")
    return tuple(names)


def _goes_along(path: Path, base: Path) -> bool:
    """Not what a link leads to outside the model's folder: the rows lie in this pod too, and what is copied here is published."""
    return path.resolve().is_relative_to(base.resolve()) and path.stat().st_size <= LARGEST_TEXT
