"""What a Kubernetes API request is about, read from its method and path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from finetune_testbed.audit import REVIEWS

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Call:
    """One request as it passed; `status` is 0 until it is answered."""

    index: int
    """Position among all requests of this proxy, from 1."""
    method: str
    path: str
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    user_agent: str
    dry_run: bool = False
    status: int = 0

    @property
    def is_write(self) -> bool:
        """Whether it would change stored state."""
        writes = self.verb in {"create", "update", "patch", "delete", "deletecollection"}
        return writes and self.resource not in REVIEWS and not self.dry_run

    @property
    def is_lease(self) -> bool:
        return self.resource == "leases"

    @property
    def is_watch(self) -> bool:
        return self.verb == "watch"

    @property
    def kind(self) -> str:
        """Such as `patch finetunejobs/status`."""
        return f"{self.verb} {self.resource}{'/' if self.subresource else ''}{self.subresource}"

    def answered(self, status: int) -> Call:
        return replace(self, status=status)


def describe(index: int, method: str, path: str, query: Mapping[str, str], user_agent: str) -> Call:
    """Read a request the way the API server does (apiserver's RequestInfo)."""
    parts = [part for part in path.split("/") if part]
    group, namespace, resource, name, subresource = "", "", "", "", ""
    if parts[:1] == ["api"]:
        rest = parts[2:]
    elif parts[:1] == ["apis"]:
        group = parts[1] if len(parts) > 1 else ""
        rest = parts[3:]
    else:
        rest = []
    # /namespaces/NAME/status and /namespaces/NAME/finalize are about the namespace itself.
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in {"status", "finalize"}:
        namespace, rest = rest[1], rest[2:]
    resource, name, subresource = (*rest[:3], "", "", "")[:3]
    return Call(
        index=index,
        method=method,
        path=path,
        verb=_verb(method, name, query),
        group=group,
        resource=resource,
        subresource=subresource,
        namespace=namespace,
        name=name,
        user_agent=user_agent,
        dry_run=query.get("dryRun") == "All",
    )


def _verb(method: str, name: str, query: Mapping[str, str]) -> str:
    if method in {"GET", "HEAD"}:
        if query.get("watch", "").lower() in {"true", "1"}:
            return "watch"
        return "get" if name else "list"
    if method == "DELETE" and not name:
        return "deletecollection"
    return _VERBS.get(method, method.lower())
