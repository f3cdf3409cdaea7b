"""Base models that come from a hub: ``hf://ORG/NAME@REVISION``, fetched with the hub's own client into the work folder.

Only what a tokenizer and safetensors weights need is fetched, never a pickle and never code.
"""

import errno
import os
import re
import shutil
import socket
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from httpx2 import RequestError
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
    XetDownloadError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import disable_progress_bars

from finetune_trainer.contract import BASE_CREDENTIALS_PATH
from finetune_trainer.pod.errors import ConfigurationError, ModelError, StorageError
from finetune_trainer.pod.sealing import sync_file, write_sealed

_URI = re.compile(r"^hf://(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)$")
_FILES = [
    "*.safetensors",
    "*.safetensors.index.json",
    "*.json",
    "*.model",
    "*.txt",
    "*.jinja",
    "README.md",
    "LICEN[CS]E*",
    "COPYING*",
    "NOTICE*",
]
_NOT_FILES = ["*.bin", "*.pt", "*.pth", "*.py", "*/*", "*.onnx*", "*.gguf", "training_args*"]
_COMPLETE = ".fetched"
_COMMIT = ".fetching"
_NETWORK = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}


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
    secret: str | Literal[False] = token.read_text(encoding="utf-8").strip() if token.is_file() else False
    repository, revision = match["repository"], match["revision"]
    try:
        expected = _download(repository, revision, secret, folder)
    except (RevisionNotFoundError, GatedRepoError, RepositoryNotFoundError, HFValidationError) as error:
        raise _refused(error, repository, revision) from error
    except (RequestError, HfHubHTTPError, RevisionResolutionError, XetDownloadError) as error:
        raise _unreachable(error) from error
    except OSError as error:
        if not _of_the_network(error):
            raise  # of the volume, which the end of the step tells apart
        raise _unreachable(error) from error
    _seal(repository, uri, folder, expected)
    return folder


def _download(repository: str, revision: str, token: str | Literal[False], folder: Path) -> dict[str, int]:
    """Fetch the files of ``revision`` and return what they must be: size in bytes by name.

    The client takes a folder that holds anything for a finished fetch when the hub fails to list the files. They are therefore listed here
    first, of one commit: a branch may move while it is fetched.
    """
    hub = HfApi(token=token)
    commit = hub.model_info(repository, revision=revision).sha or revision
    listed = [entry for entry in hub.list_repo_tree(repository, revision=commit) if isinstance(entry, RepoFile)]
    expected = {file.path: file.size for file in listed if _matches(file.path, _FILES) and not _matches(file.path, _NOT_FILES)}
    _clear_other_commit(folder, commit)
    snapshot_download(
        repository, revision=commit, local_dir=folder, allow_patterns=_FILES, ignore_patterns=_NOT_FILES, token=token, max_workers=4
    )
    return expected


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _clear_other_commit(folder: Path, commit: str) -> None:
    """What an interrupted fetch left is gone on with only if it is of the same commit."""
    mark = folder / _COMMIT
    if mark.is_file() and mark.read_text(encoding="utf-8") == commit:
        return
    shutil.rmtree(folder, ignore_errors=True)
    write_sealed(mark, commit)


def _seal(repository: str, uri: str, folder: Path, expected: dict[str, int]) -> None:
    """Mark the fetch as complete, once every expected file is whole and on the disk."""
    missing = [name for name, size in expected.items() if not (folder / name).is_file() or (folder / name).stat().st_size != size]
    if missing:
        for name in missing:
            (folder / name).unlink(missing_ok=True)  # the client would take a file that it has once fetched for whole
        message = f"baseModel: {len(missing)} of {len(expected)} files of {repository} did not arrive whole, {missing[0][:128]} for one"
        raise StorageError("FetchIncomplete", message, "The hub failed in the middle of it: the next attempt goes on with what is missing.")
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    for name in expected:
        sync_file(folder / name)
    write_sealed(folder / _COMPLETE, uri)


def _of_the_network(error: OSError) -> bool:
    """The client raises errors without a number for answers that are not what they should be, such as a file of another size."""
    return error.errno is None or error.errno in _NETWORK or isinstance(error, ConnectionError | TimeoutError | socket.gaierror)


def _unreachable(error: Exception) -> StorageError:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    message = f"baseModel: the hub at {endpoint} could not be reached or failed ({type(error).__name__})"
    return StorageError(
        "HubUnreachable", message, "Check the network policy and proxy of the namespace, or put the model on a claim (pvc://)."
    )


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
