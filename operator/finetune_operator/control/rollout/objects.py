"""The objects of serving as this installation wants them."""

from collections.abc import Sequence

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec, HttpRouteSpec
from finetune_operator.domain.plan import JsonObject
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.serving import (
    CheckOrder,
    MergedModel,
    MergeOrder,
    ServingSettings,
    build_check_job,
    build_http_route,
    build_merge_job,
    check_objects,
    merged_server_objects,
    namespace_objects,
    server_mistake,
    server_objects,
)


class InstalledObjects:
    """Implements `finetune_operator.control.rollout.children.ServingObjects`."""

    def __init__(self, settings: ServingSettings) -> None:
        self._settings = settings

    def server_objects(self, owner: Owner, spec: AdapterDeploymentSpec, claims: Sequence[str]) -> Sequence[JsonObject]:
        return server_objects(owner, spec, self._settings, claims)

    def merged_server_objects(self, owner: Owner, spec: AdapterDeploymentSpec, models: Sequence[MergedModel]) -> Sequence[JsonObject]:
        return merged_server_objects(owner, spec, self._settings, models)

    def check_objects(self, owner: Owner) -> Sequence[JsonObject]:
        return check_objects(owner, self._settings)

    def check_job(self, owner: Owner, spec: AdapterDeploymentSpec, order: CheckOrder) -> JsonObject:
        return build_check_job(owner, spec, order, self._settings)

    def merge_job(self, owner: Owner, spec: AdapterDeploymentSpec, order: MergeOrder) -> JsonObject:
        return build_merge_job(owner, spec, order, self._settings)

    def namespace_objects(self, namespace: str) -> Sequence[JsonObject]:
        return namespace_objects(namespace, self._settings)

    def http_route(self, owner: Owner, route: HttpRouteSpec) -> JsonObject:
        return build_http_route(owner, route)

    def mistake(self, spec: AdapterDeploymentSpec) -> str:
        found = server_mistake(spec, self._settings)
        return found.message if found is not None else ""
