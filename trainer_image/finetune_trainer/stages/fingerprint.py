"""What a checkpoint must have in common with the run that wants to go on from it.

The same declared run, data and base, trained with the same versions on the same number of processes: anything else would end in other
weights than an undisturbed run, or in none at all. How many examples go through at once may change (after an out-of-memory it must).
"""

from importlib.metadata import PackageNotFoundError, version

from finetune_trainer.contract import RunSpec, canonical_json, digest_of
from finetune_trainer.stages.defaults import Device

_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "numpy")
_FREE_TO_CHANGE = {"micro_batch_size"}


def fingerprint(spec: RunSpec, *, data_digest: str, base_digest: str, device: Device, processes: int) -> dict[str, str]:
    """Named digests and facts; two runs with equal ones may share checkpoints."""
    settings = {
        "stage": spec.stage.value,
        "tuner": spec.tuner.model_dump(mode="json"),
        "training": spec.training.model_dump(mode="json", exclude=_FREE_TO_CHANGE),
    }
    return {
        "run": spec.run.key,
        "settings": digest_of(canonical_json(settings).encode()),
        "data": data_digest,
        "base": base_digest,
        "versions": " ".join(f"{name}={number}" for name, number in versions().items()),
        "device": device,
        "processes": str(processes),
    }


def versions() -> dict[str, str]:
    """Of every package that has a say in the weights."""
    return {name: _version(name) for name in _PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
