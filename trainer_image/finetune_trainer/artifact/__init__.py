"""The artifact: what a run leaves to the world, cleaned, named by its content, and published once."""

from finetune_trainer.artifact.assembly import assemble
from finetune_trainer.artifact.contents import Artifact, inspect
from finetune_trainer.artifact.publication import is_promotable, publish

__all__ = ["Artifact", "assemble", "inspect", "is_promotable", "publish"]
