"""Where data, models and artifacts lie: the URIs this API understands, checked alike by the API server and by the models."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from finetune_operator.api.markers import Rule

PVC_SCHEME = "pvc://"
HUB_SCHEME = "hf://"

_CLAIM = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_PVC = rf"^pvc://{_CLAIM}(/[^/\s?#%\\]+)+$"
_HUB = r"^hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9._/-]*$"
_DOTS = r"/\.\.?(/|$)"

_QUOTED_PVC = _PVC.replace("\\", "\\\\")
_QUOTED_HUB = _HUB.replace("\\", "\\\\")
_QUOTED_DOTS = _DOTS.replace("\\", "\\\\")

_NO_DOTS = Rule(
    f"!self.matches('{_QUOTED_DOTS}')",
    "a path must not hold '.' or '..' segments: write the path as it is on the volume",
)
_IS_PVC = Rule(
    f"self.matches('{_QUOTED_PVC}')",
    "supported here is pvc://CLAIM/PATH (a claim of this namespace, no trailing slash)",
    '"\'" + self + "\' is not supported here; use pvc://CLAIM/PATH (a claim of this namespace, no trailing slash)"',
)
_IS_MODEL = Rule(
    f"self.startsWith('hf://') || self.matches('{_QUOTED_PVC}')",
    "supported are pvc://CLAIM/PATH (no trailing slash) and hf://ORG/NAME@REVISION",
    '"\'" + self + "\' is not supported; use pvc://CLAIM/PATH (no trailing slash) or hf://ORG/NAME@REVISION"',
)
_HUB_REVISION = Rule(
    "!self.startsWith('hf://') || self.contains('@')",
    "hf:// needs a revision, so that the same spec always means the same model: write hf://ORG/NAME@REVISION (a commit is best)",
)
_IS_HUB = Rule(
    f"!self.startsWith('hf://') || !self.contains('@') || self.matches('{_QUOTED_HUB}')",
    "write hf://ORG/NAME@REVISION, for example hf://HuggingFaceTB/SmolLM2-135M-Instruct@main",
)
_NOT_WORK_FOLDER = Rule(
    "!self.matches('/[.]finetune(/|$)')",
    "the folder .finetune is where runs keep their working files: choose another path",
)


def _checked_pvc(uri: str) -> str:
    if not re.search(_PVC, uri) or re.search(_DOTS, uri):
        msg = f"'{uri}' is not a pvc://CLAIM/PATH URI"
        raise ValueError(msg)
    return uri


def _checked_model(uri: str) -> str:
    if uri.startswith(HUB_SCHEME):
        if not re.search(_HUB, uri):
            msg = f"'{uri}' is not a hf://ORG/NAME@REVISION URI"
            raise ValueError(msg)
        return uri
    return _checked_pvc(uri)


def _checked_http(uri: str) -> str:
    if not re.fullmatch(HTTP, uri):
        msg = f"'{uri}' is not an http://HOST[:PORT][/PATH] or https:// address"
        raise ValueError(msg)
    return uri


PvcUri = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_checked_pvc), _IS_PVC, _NO_DOTS, _NOT_WORK_FOLDER]
"""``pvc://CLAIM/PATH``: a file or folder on a claim of the job's own namespace, outside the hidden folder of the runs.

What lies there is what other jobs have made of their data, and nothing says what that is.
"""

ModelUri = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    AfterValidator(_checked_model),
    _IS_MODEL,
    _HUB_REVISION,
    _IS_HUB,
    _NO_DOTS,
    _NOT_WORK_FOLDER,
]
"""``pvc://CLAIM/PATH`` or ``hf://ORG/NAME@REVISION``."""


_PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
HTTP = rf"^https?://[A-Za-z0-9][-A-Za-z0-9.]*(:({_PORT}))?(/[-A-Za-z0-9._~/]*)?$"

HttpUri = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    AfterValidator(_checked_http),
    Rule(
        f"self.matches('{HTTP}')",
        "write http://HOST[:PORT][/PATH] or https://…, with a name or an IPv4 address: no user, query, fragment or escapes",
    ),
]
"""An address of a service that can be read in one way only; whoever has to log in says so in a Secret."""


@dataclass(frozen=True)
class VolumePath:
    """A place on a claim; ``path`` is relative, without a leading slash."""

    claim: str
    path: str


def overlap(one: str, other: str) -> bool:
    """Whether two places are the same, or one is a folder that holds the other: who reads a folder reads what lies in it."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def volume_path(uri: str) -> VolumePath | None:
    """The claim and path of a ``pvc://`` URI; None for another scheme. Raises ``ValueError`` for a malformed one."""
    if not uri.startswith(PVC_SCHEME):
        return None
    claim, _, path = _checked_pvc(uri).removeprefix(PVC_SCHEME).partition("/")
    return VolumePath(claim, path)
