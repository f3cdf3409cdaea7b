"""Base models that come from a hub: ``hf://ORG/NAME@REVISION``, fetched with the hub's own client into the work folder.

Only what a tokenizer and safetensors weights need is fetched, never a pickle and never code.
"""

import os
import re
import shutil
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
    XetDownloadError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from finetune_trainer.contract import BASE_CREDENTIALS_PATH
from finetune_trainer.pod.errors import ConfigurationError, ModelError, StorageError

_URI = re.compile(r"^hf://(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)$")
_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.model", "*.txt", "*.jinja", "README.md", "LICENSE*"]
_NOT_FILES = ["*.bin", "*.pt", "*.pth", "*.py", "*/*", "*.onnx*", "*.gguf", "training_args*"]
_COMPLETE = ".fetched"


def fetch_base_model(uri: str, folder: Path, credentials: Path = Path(BASE_CREDENTIALS_PATH)) -> Path:
    """Fetch ``uri`` into ``folder`` and return it; a complete earlier fetch of the same revision is kept.

    Raises ``ConfigurationError`` for a URI of another scheme, ``ModelError`` for what does not exist or may not be read, and
    ``StorageError`` when the hub cannot be reached, which trying again may mend.
    """
    match = _URI.match(uri)
    if match is None:
        raise ConfigurationError("InvalidUri", f"baseModel.uri: {uri} cannot be fetched", "Use pvc://CLAIM/PATH or hf://ORG/NAME@REVISION.")
    seal = folder / _COMPLETE
    if seal.is_file() and seal.read_text(encoding="utf-8") == uri:
        return folder
    disable_progress_bars()
    token = credentials / "token"
    repository, revision = match["repository"], match["revision"]
    try:
        snapshot_download(
            repository,
            revision=revision,
            local_dir=folder,
            allow_patterns=_FILES,
            ignore_patterns=_NOT_FILES,
            token=token.read_text(encoding="utf-8").strip() if token.is_file() else False,
            max_workers=4,
        )
    except (RevisionNotFoundError, GatedRepoError, RepositoryNotFoundError, HFValidationError) as error:
        raise _refused(error, repository, revision) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, RevisionResolutionError, XetDownloadError, ConnectionError, TimeoutError) as error:
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        message = f"baseModel: the hub at {endpoint} could not be reached or failed ({type(error).__name__})"
        raise StorageError(
            "HubUnreachable", message, "Check the network policy and proxy of the namespace, or put the model on a claim (pvc://)."
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    seal.write_text(uri, encoding="utf-8")
    return folder


def _refused(error: Exception, repository: str, revision: str) -> ModelError:
    if isinstance(error, RevisionNotFoundError):
        return ModelError(
            "RevisionMissing", f"baseModel: {repository} has no revision {revision}", "Name a branch, a tag or a commit that exists."
        )
    if isinstance(error, GatedRepoError):
        hint = (
            "Accept the model's terms with your account and put a token with read access into baseModel.credentialsSecretRef (key token)."
        )
        return ModelError("AccessDenied", f"baseModel: {repository} is gated", hint)
    hint = "Check the spelling; for a private model set baseModel.credentialsSecretRef (key token)."
    return ModelError("BaseModelMissing", f"baseModel: the hub knows no model {repository} that this token may read", hint)
