"""How pods are replaced, spread and protected from drains, for servers and routers alike."""

from finetune_operator.manifests.serving.settings import JsonObject


def rolling_update() -> JsonObject:
    """A new pod is ready before an old one goes; a server therefore needs the resources of one replica more during an update."""
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def build_budget(metadata: JsonObject, selector: dict[str, str]) -> JsonObject:
    """Drains take one pod at a time.

    Also the only one: a budget that keeps it would keep its node from ever being emptied. Pods that are not ready anyway hold up nothing.
    """
    spec = {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": {"matchLabels": selector}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec}


def spread(selector: dict[str, str]) -> list[JsonObject]:
    """Over nodes and zones, where there are several; pods of one revision count against each other, not against those they replace."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector},
            "matchLabelKeys": ["pod-template-hash"],
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]
