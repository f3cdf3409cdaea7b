"""Keys and tokens by the form that their makers gave them so that they can be found.

Sources: RFC 7468 (PEM) and the public documentation of each maker about its token prefixes. What is named "password" and has no form of its
own is not found.
"""

from typing import Final

from finetune_trainer.contract.governance.vocabulary import Entity
from finetune_trainer.identifiers.recognizer import Needs, Recognizer, pattern

_END: Final = r"(?![A-Za-z0-9_\-])"


def _token(name: str, before: str, expression: str) -> Recognizer:
    """``before`` are literals, in lower case, of which the row must hold one; the expression begins with a literal."""
    form = "known beginning, alphabet and length"
    return Recognizer(Entity.SECRET, name, pattern(expression), form, needs=Needs.NOTHING, hints=tuple(before.split("|")))


SECRETS: Final = (
    _token("private-key", "private key", r"-----BEGIN [A-Z0-9 ]{0,24}PRIVATE KEY(?: BLOCK)?-----"),
    _token("putty-key", "putty-user-key-file", r"PuTTY-User-Key-File-[0-9]"),
    _token("aws-access-key", "akia", rf"AKIA(?<![A-Za-z0-9]AKIA)[A-Z2-7]{{16}}{_END}"),
    _token("aws-session-key", "asia", rf"ASIA(?<![A-Za-z0-9]ASIA)[A-Z2-7]{{16}}{_END}"),
    _token("google-api-key", "aiza", rf"AIza(?<![A-Za-z0-9_\-]AIza)[A-Za-z0-9_\-]{{35}}{_END}"),
    _token("google-oauth-secret", "gocspx-", rf"GOCSPX-[A-Za-z0-9_\-]{{28}}{_END}"),
    _token("azure-storage-key", "accountkey=", r"AccountKey=[A-Za-z0-9+/]{86}=="),
    _token("github-token", "ghp_|gho_|ghu_|ghs_|ghr_", rf"gh(?<![A-Za-z0-9_]gh)[pousr]_[A-Za-z0-9]{{36}}{_END}"),
    _token("github-fine-grained-token", "github_pat_", rf"github_pat_[A-Za-z0-9]{{22}}_[A-Za-z0-9]{{59}}{_END}"),
    _token("gitlab-token", "glpat-", r"glpat-(?<![A-Za-z0-9_\-]glpat-)[A-Za-z0-9_\-]{20}"),
    _token("slack-token", "xox", r"xox(?<![A-Za-z0-9]xox)[abeoprs]-[0-9A-Za-z\-]{10}"),
    _token("stripe-key", "_live_", r"_live_(?<=[sr]k_live_)[A-Za-z0-9]{16}"),
    _token("npm-token", "npm_", rf"npm_(?<![A-Za-z0-9_]npm_)[A-Za-z0-9]{{36}}{_END}"),
    _token("pypi-token", "pypi-ageichlwas", r"pypi-AgEIcHlwaS[A-Za-z0-9_\-]{50}"),
    _token("hugging-face-token", "hf_", rf"hf_(?<![A-Za-z0-9_]hf_)[A-Za-z0-9]{{34}}{_END}"),
    _token("openai-key", "sk-", r"sk-(?<![A-Za-z0-9_\-]sk-)(?:proj-|svcacct-|ant-[a-z0-9]{3,8}-)?[A-Za-z0-9_\-]{32}"),
    _token("sendgrid-key", "sg.", rf"SG\.(?<![A-Za-z0-9_]SG\.)[A-Za-z0-9_\-]{{22}}\.[A-Za-z0-9_\-]{{43}}{_END}"),
    _token("digitalocean-token", "dop_v", rf"dop_v1_[0-9a-f]{{64}}{_END}"),
    _token(
        "json-web-token",
        "eyj",
        r"eyJ(?<![A-Za-z0-9_\-]eyJ)[A-Za-z0-9_\-]{8,4096}+\.eyJ[A-Za-z0-9_\-]{8,4096}+\.[A-Za-z0-9_\-]{16}",
    ),
    _token("password-in-url", "://", r"://(?=[^/\s:@]{1,64}+:[^/\s@]{3,128}+@)"),
)
