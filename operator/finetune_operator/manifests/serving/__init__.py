"""What serves an AdapterDeployment, as manifests: the servers it owns, and the router that its namespace has once.

All are complete and deterministic, for server-side apply by one field manager; applied twice they change nothing.
"""

from finetune_operator.api.base import LABEL_SERVING_ROLE
from finetune_operator.manifests.serving.check import CheckOrder, build_check_job, check_basis, check_objects, check_run
from finetune_operator.manifests.serving.exposure import build_http_route
from finetune_operator.manifests.serving.labels import (
    AGENT_NAME,
    CHECK,
    MERGE,
    ROUTER,
    ROUTER_NAME,
    SERVER,
    classified,
    http_route_name,
    managed_selector,
    router_selector,
    server_name,
    server_selector,
)
from finetune_operator.manifests.serving.merge import MergeOrder, build_merge_job, merge_key, merge_run
from finetune_operator.manifests.serving.mistakes import ServerMistake, server_mistake
from finetune_operator.manifests.serving.rights import AGENT_RULES, ROUTER_RULES
from finetune_operator.manifests.serving.router import ENGINE_KEY_ENTRY, ENGINE_KEY_SECRET, KEYS_SECRET, namespace_objects
from finetune_operator.manifests.serving.server import merged_server_objects, server_objects
from finetune_operator.manifests.serving.settings import (
    AGENT_PORT,
    ENGINE_ADMIN_PORT,
    ENGINE_PORT,
    ROUTER_ADMIN_PORT,
    ROUTER_PORT,
    JsonObject,
    ServingSettings,
)
from finetune_operator.manifests.serving.volumes import MergedModel, merged_model

__all__ = [
    "AGENT_NAME",
    "AGENT_PORT",
    "AGENT_RULES",
    "CHECK",
    "ENGINE_ADMIN_PORT",
    "ENGINE_KEY_ENTRY",
    "ENGINE_KEY_SECRET",
    "ENGINE_PORT",
    "KEYS_SECRET",
    "LABEL_SERVING_ROLE",
    "MERGE",
    "ROUTER",
    "ROUTER_ADMIN_PORT",
    "ROUTER_NAME",
    "ROUTER_PORT",
    "ROUTER_RULES",
    "SERVER",
    "CheckOrder",
    "JsonObject",
    "MergeOrder",
    "MergedModel",
    "ServerMistake",
    "ServingSettings",
    "build_check_job",
    "build_http_route",
    "build_merge_job",
    "check_basis",
    "check_objects",
    "check_run",
    "classified",
    "http_route_name",
    "managed_selector",
    "merge_key",
    "merge_run",
    "merged_model",
    "merged_server_objects",
    "namespace_objects",
    "router_selector",
    "server_mistake",
    "server_name",
    "server_objects",
    "server_selector",
]
