"""Route tables from the API server: a watch of the AdapterDeployments of one namespace, and of the pods that they name.

While the API server is away, the table stays as it was. Before it was ever reached, there is none from here.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final

from finetune_inference.contract import RouteTable
from finetune_inference.kubernetes.access import Access
from finetune_inference.kubernetes.client import ApiClient
from finetune_inference.kubernetes.reflectors import Reflectors
from finetune_inference.kubernetes.selection import adapter_deployments, pods
from finetune_inference.router.deployments import MANAGED, Deployment, Pod, assemble, deployment, pod
from finetune_inference.router.sources import Incomplete, Rejected

PAUSE_SECONDS: Final = 0.05
"""Between two looks at what changed: a burst is one change, and what changes no route costs little."""
_LONGEST: Final = 1000


class NamespaceSource:
    """``last_good`` gives the routes of objects whose status is broken, and the pods that cannot be listed, after a start too."""

    def __init__(self, access: Access, namespace: str, last_good: RouteTable | None) -> None:
        self._access = access
        self._namespace = namespace
        self._table = last_good if last_good is not None and last_good.namespace == namespace else None
        self._begun = False

    async def updates(self) -> AsyncIterator[RouteTable | Incomplete | Rejected]:
        """A table at once when something changed, and then none for `PAUSE_SECONDS`."""
        news = asyncio.Event()
        before: RouteTable | Incomplete | Rejected | None = None
        async with (
            ApiClient(self._access, "finetune-router") as api,
            Reflectors[Deployment](api, deployment, news) as deployments,
            Reflectors[Pod](api, pod, news) as server_pods,
        ):
            deployments.follow([adapter_deployments(self._namespace)])
            self._choose_pods(deployments, server_pods)
            while True:
                await news.wait()
                news.clear()
                deployments.raise_defect()
                server_pods.raise_defect()
                self._choose_pods(deployments, server_pods)
                found = self._found(deployments, server_pods)
                if found is not None and found != before:
                    before = found
                    yield found
                await asyncio.sleep(PAUSE_SECONDS)

    def _choose_pods(self, deployments: Reflectors[Deployment], server_pods: Reflectors[Pod]) -> None:
        named = {one.pods(self._namespace) for reflector in deployments for one in reflector.objects.values()}
        server_pods.follow([pods(self._namespace, MANAGED), *named])

    def _found(self, deployments: Reflectors[Deployment], server_pods: Reflectors[Pod]) -> RouteTable | Incomplete | Rejected | None:
        """None while the first lists are under way."""
        away = dict.fromkeys(one.problem.message for group in (deployments, server_pods) for one in group if one.problem is not None)
        if not all(one.synced for one in deployments):
            return Rejected(_joined(away)) if away else None
        if not self._begun and any(not one.synced and one.problem is None for one in server_pods):
            return None
        self._begun = True
        known = {one.selection: list(one.objects.values()) for one in server_pods if one.synced}
        assembly = assemble(self._namespace, [found for one in deployments for found in one.objects.values()], known, self._table)
        self._table = assembly.table
        problems = [*away, *assembly.problems]
        return Incomplete(assembly.table, _joined(problems)) if problems else assembly.table


def _joined(problems: Iterable[str]) -> str:
    return "; ".join(problems)[:_LONGEST]
