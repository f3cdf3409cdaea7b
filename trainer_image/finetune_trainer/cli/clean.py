"""``finetune-trainer clean``: remove what a run left in its work folder, once nobody will resume it."""

import os
import shutil

from finetune_trainer.contract import StepResult
from finetune_trainer.pod.context import StepContext


def execute(context: StepContext) -> StepResult | None:
    """Empty the work folder and remove it, unless it is a mount point; safe to repeat."""
    root = context.workspace.root
    if not root.is_dir():
        return None
    freed = 0
    for entry in sorted(root.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            freed += sum(file.lstat().st_size for file in entry.rglob("*") if file.is_file())
            shutil.rmtree(entry)
        else:
            freed += entry.lstat().st_size
            entry.unlink()
    if not os.path.ismount(root):
        root.rmdir()
    context.events.emit("cleaned", bytes=freed)
    return None
