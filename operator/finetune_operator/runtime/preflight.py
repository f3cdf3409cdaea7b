"""Questions asked before anything starts, so that a missing definition or right is one clear sentence and not a log full of refusals."""

import asyncio
from dataclasses import dataclass
from typing import Final

from finetune_operator.cluster.errors import ApiError, Forbidden, Invalid, NotFound
from finetune_operator.cluster.kube import KubeApi, Selection
from finetune_operator.cluster.resources import (
    ACCESS_REVIEWS,
    ADAPTER_DEPLOYMENTS,
    APPROVALS,
    CONFIG_MAPS,
    CORE_EVENTS,
    DEPLOYMENTS,
    EVENTS,
    FINETUNE_JOBS,
    GOVERNANCE_FACTS,
    GOVERNANCE_POLICIES,
    HTTP_ROUTES,
    JOBS,
    LEASES,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    SECRETS,
    SERVING_RESOURCES,
    TRAINING_DATASETS,
    Resource,
)
from finetune_operator.manifests.serving import ENGINE_KEY_SECRET


class PreflightFailed(Exception):
    """The operator cannot work here; the text says what to do."""


@dataclass(frozen=True)
class Right:
    """A right this operator uses; the chart grants exactly these."""

    resource: Resource
    verbs: tuple[str, ...]
    subresource: str = ""
    only: str = ""
    """The one object of that kind that it is for."""

    @property
    def name(self) -> str:
        group = f".{self.resource.group}" if self.resource.group else ""
        return (
            f"{self.resource.plural}{group}" + (f"/{self.subresource}" if self.subresource else "") + (f" {self.only}" if self.only else "")
        )


RIGHTS: Final = (
    Right(FINETUNE_JOBS, ("get", "list", "watch")),
    Right(FINETUNE_JOBS, ("patch",), "status"),
    Right(JOBS, ("get", "list", "watch", "create", "delete")),
    Right(CONFIG_MAPS, ("get", "create", "delete")),
    Right(PODS, ("list", "watch")),
    Right(CORE_EVENTS, ("list", "watch")),
    Right(EVENTS, ("create", "patch")),
    Right(ADAPTER_DEPLOYMENTS, ("list", "watch", "patch")),
)
"""With serving or without: the finalizer of an AdapterDeployment that is deleted comes off in any case."""
LEASE_RIGHTS: Final = (Right(LEASES, ("get", "create", "update")),)
SERVING_RIGHTS: Final = (
    Right(ADAPTER_DEPLOYMENTS, ("get",)),
    Right(ADAPTER_DEPLOYMENTS, ("patch",), "status"),
    Right(DEPLOYMENTS, ("list", "watch")),
    Right(SECRETS, ("get",), only=ENGINE_KEY_SECRET),
)
"""The one Secret holds the key of engines that users run themselves."""
SERVING_OBJECT_RIGHTS: Final = (
    *(Right(kind, ("get", "create", "patch", "delete")) for kind in SERVING_RESOURCES.values()),
    Right(HTTP_ROUTES, ("get", "list", "create", "patch", "delete")),
    Right(PODS, ("get",)),
)
"""Reading pods is what the router's Role grants, and nobody can grant what he may not do. HTTPRoutes are listed to learn whether there is
such a kind; a right to a kind that is not there harms nobody."""
NAMESPACE_RIGHTS: Final = (Right(NAMESPACES, ("list", "watch")),)
"""Of an operator of all namespaces: what serves in one that is being deleted ends at once. Governance has these rights in any case."""
GOVERNANCE_RIGHTS: Final = (
    Right(NAMESPACES, ("list", "watch")),
    Right(GOVERNANCE_POLICIES, ("list", "watch")),
    Right(TRAINING_DATASETS, ("list", "watch")),
    Right(TRAINING_DATASETS, ("patch",), "status"),
    Right(APPROVALS, ("list", "watch")),
    Right(NODES, ("list", "watch")),
    Right(NETWORK_POLICIES, ("get", "list", "watch", "create", "patch", "delete")),
    Right(GOVERNANCE_FACTS, ("list", "watch", "create", "patch", "delete")),
)
"""Namespaces, policies and nodes are of the whole cluster, also where the operator watches some namespaces only."""
POLICY_STATUS_RIGHTS: Final = (Right(GOVERNANCE_POLICIES, ("patch",), "status"),)
"""An operator of some namespaces only says nothing about policies, which are everybody's."""
PROXY_RIGHTS: Final = (Right(PODS, ("get",), "proxy"),)


async def require_definition(kube: KubeApi, namespace: str | None, kind: Resource = FINETUNE_JOBS) -> None:
    """Raises `PreflightFailed` if the API server does not know the kind."""
    try:
        async for _page in kube.pages(kind, Selection(namespace=namespace, metadata_only=True), page_size=1):
            return
    except NotFound:
        raise PreflightFailed(
            f"the API server does not know {kind.plural}.{kind.group}/{kind.version}: install the custom "
            "resource definition first (kubectl apply -f crds/, or the chart with crds.install=true), then start the operator again"
        ) from None
    except Forbidden as error:
        raise PreflightFailed(f"may not list {kind.plural}: {error.message}") from None


async def require_rights(
    kube: KubeApi,
    namespaces: tuple[str, ...],
    lease_namespace: str | None,
    *,
    through_proxy: bool,
    serving: bool = False,
    objects: bool = False,
    governance: bool = False,
) -> None:
    """Ask for each right we will use. Raises `PreflightFailed` naming those that are missing."""
    rights = [
        *RIGHTS,
        *(SERVING_RIGHTS if serving else ()),
        *(SERVING_OBJECT_RIGHTS if objects else ()),
        *(NAMESPACE_RIGHTS if objects and not namespaces and not governance else ()),
        *(PROXY_RIGHTS if through_proxy else ()),
        *(GOVERNANCE_RIGHTS if governance else ()),
        *(POLICY_STATUS_RIGHTS if governance and not namespaces else ()),
    ]
    wanted = [
        (right, verb, namespace if right.resource.namespaced else None)
        for namespace in namespaces or (None,)
        for right in rights
        for verb in right.verbs
    ]
    if lease_namespace is not None:
        wanted += [(right, verb, lease_namespace) for right in LEASE_RIGHTS for verb in right.verbs]
    allowed = await asyncio.gather(*(_allowed(kube, *question) for question in wanted))
    refused = [question for question, yes in zip(wanted, allowed, strict=True) if not yes]
    missing = sorted({f"{verb} {right.name} in {namespace or 'all namespaces'}" for right, verb, namespace in refused})
    if missing:
        raise PreflightFailed("these rights are missing (see the chart's ClusterRole): " + "; ".join(missing))


async def require_rights_in(kube: KubeApi, namespace: str, rights: tuple[Right, ...]) -> None:
    """Ask for each of these rights in one namespace. Raises `PreflightFailed` naming those that are missing."""
    wanted = [(right, verb) for right in rights for verb in right.verbs]
    allowed = await asyncio.gather(*(_allowed(kube, right, verb, namespace) for right, verb in wanted))
    missing = [f"{verb} {right.name}" for (right, verb), yes in zip(wanted, allowed, strict=True) if not yes]
    if missing:
        raise PreflightFailed(f"these rights are missing in namespace {namespace} (see the chart's Role): {'; '.join(missing)}")


async def _allowed(kube: KubeApi, right: Right, verb: str, namespace: str | None) -> bool:
    attributes = {
        "group": right.resource.group,
        "version": right.resource.version,
        "resource": right.resource.plural,
        "subresource": right.subresource,
        "verb": verb,
        "namespace": namespace or "",
        "name": right.only,
    }
    review = {
        "apiVersion": ACCESS_REVIEWS.api_version,
        "kind": ACCESS_REVIEWS.kind,
        "metadata": {},
        "spec": {"resourceAttributes": attributes},
    }
    answer = await kube.create_unfenced(ACCESS_REVIEWS, review)
    return bool((answer.get("status") or {}).get("allowed"))


async def reach(kube: KubeApi, namespace: str | None, *, attempts: int = 10) -> None:
    """Wait a little for an API server that is just starting. Raises `PreflightFailed`."""
    for attempt in range(attempts):
        try:
            await require_definition(kube, namespace)
        except Invalid as error:
            raise PreflightFailed(str(error)) from error
        except ApiError as error:
            if attempt == attempts - 1:
                raise PreflightFailed(f"the API server does not answer: {error}") from error
            await asyncio.sleep(min(5.0, 0.5 * 2**attempt))
        else:
            return
