"""What a finished step no longer needs and the next one need not pay for: scratch volumes are small and shared."""

import shutil

from finetune_trainer.contract import Step
from finetune_trainer.pod.workspace import Workspace


def remove_spent_folders(workspace: Workspace, step: Step) -> None:
    """After ``step`` sealed its result, delete what only it needed; safe to repeat after a crash in the middle."""
    folders = [workspace.checkpoints, workspace.data, workspace.base] if step is Step.TRAIN else []
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)
