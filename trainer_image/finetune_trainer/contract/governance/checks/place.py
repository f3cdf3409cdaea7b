"""Where data lie and pods run: residency, sources, nodes, trackers and judges, egress."""

import re
from collections.abc import Iterable, Iterator, Mapping

from finetune_trainer.contract.governance.case import Case
from finetune_trainer.contract.governance.facts import Probe
from finetune_trainer.contract.governance.findings import Finding, find, listed, shown
from finetune_trainer.contract.governance.policy import Policy, allowed, closes_egress, runtime_classes
from finetune_trainer.contract.governance.rules import RuleId
from finetune_trainer.contract.governance.vocabulary import EVERYTHING, LABEL_ZONE

TRACKER, JUDGE = "spec.tracking.mlflow.uri", "spec.evaluation.judge.endpoint"
_HTTP = re.compile(r"https?://([A-Za-z0-9][-A-Za-z0-9.]*)(:[0-9]{1,5})?(/[!-~]*)?")
_SOURCE = re.compile(r"[a-z0-9]+://[^\s%\\?#]+")


def data_lie_in_one_place(case: Case) -> Iterator[Finding]:
    places = sorted(case.classification.residencies)
    if len(places) > 1:
        yield find(RuleId.RESIDENCY_VIOLATION, "residency", f"the parts must lie in {listed(places)} at once")


def places_are_allowed(case: Case, policy: Policy) -> Iterator[Finding]:
    zones = allowed(policy.zones, case.level)
    for place in sorted(case.classification.residencies):
        if not _holds(zones, place):
            yield find(RuleId.RESIDENCY_VIOLATION, "residency", f"{place} is not among the zones: {listed(zones)}", policy)


def sources_are_allowed(case: Case, policy: Policy) -> Iterator[Finding]:
    sources = allowed(policy.data_sources, case.level)
    for dataset in case.facts.datasets:
        if not _from_one_of(sources, dataset.uri):
            yield find(
                RuleId.RESIDENCY_VIOLATION, dataset.field, f"{shown(dataset.uri)} is not below any source: {listed(sources)}", policy
            )


def endpoints_are_allowed(case: Case, policy: Policy) -> Iterator[Finding]:
    kinds = (
        (RuleId.EXTERNAL_TRACKER, TRACKER, "tracker", case.facts.trackers, allowed(policy.tracker_hosts, case.level)),
        (RuleId.EXTERNAL_JUDGE, JUDGE, "judge", case.facts.judges, allowed(policy.judge_hosts, case.level)),
    )
    for rule, field, word, addresses, hosts in kinds:
        for address in addresses:
            host = host_of(address)
            if host is None or not _holds(hosts, host):
                named = shown(host) if host else "no host that can be read for certain"
                yield find(rule, field, f"{named} is not among the {word} hosts: {listed(hosts)}", policy)


def bound_node_complies(case: Case, policy: Policy) -> Iterator[Finding]:
    node = case.facts.bound_node
    if node is not None and not _complies(node, case, (policy,)):
        yield find(RuleId.RESIDENCY_VIOLATION, "node", f"the pod's node stands in {shown(_zone(node))} or lacks a label asked for", policy)


def some_node_complies(case: Case) -> Iterator[Finding]:
    """Asked of all policies together: a node for each of two policies is no node for both."""
    nodes = case.facts.nodes
    if nodes is None:
        return
    enforced = tuple(policy for policy in case.policies if policy.enforced)
    if not _satisfied(nodes, case, enforced):
        yield find(RuleId.NO_COMPLIANT_NODE, "nodes", f"none of {len(nodes)} kinds of node does")
        return
    for policy in case.policies:
        if not policy.enforced and not _satisfied(nodes, case, (*enforced, policy)):
            yield find(RuleId.NO_COMPLIANT_NODE, "nodes", f"none of {len(nodes)} kinds of node does", policy)


def _satisfied(nodes: Iterable[Mapping[str, str]], case: Case, policies: tuple[Policy, ...]) -> bool:
    """By one of the nodes; or by any node at all, also one that is still to come."""
    return _complies({}, case, policies) or any(_complies(node, case, policies) for node in nodes)


def one_runtime_class_is_asked_for(case: Case) -> Iterator[Finding]:
    """A pod has one: where policies ask for several, no node can run it."""
    enforced = runtime_classes(policy for policy in case.policies if policy.enforced)
    if case.serving:
        return
    if len(enforced) > 1:
        yield find(RuleId.NO_COMPLIANT_NODE, "runtimeClassName", f"policies ask for {listed(shown(name) for name in sorted(enforced))}")
        return
    for policy in case.policies:
        if not policy.enforced and len(enforced | runtime_classes([policy])) > 1:
            yield find(RuleId.NO_COMPLIANT_NODE, "runtimeClassName", f"asks for {shown(str(policy.runtime_class_name))} too", policy)


def egress_is_closed(case: Case, policy: Policy) -> Iterator[Finding]:
    if not closes_egress(policy, case.level) or case.serving:
        return
    probe = case.facts.egress
    if probe is Probe.OPEN:
        yield find(RuleId.EGRESS_NOT_ENFORCED, "egress", "the probe reached the outside", policy)
    elif probe is Probe.INCONCLUSIVE or (probe is None and case.due(RuleId.EGRESS_PROBE_INCONCLUSIVE)):
        yield find(RuleId.EGRESS_PROBE_INCONCLUSIVE, "egress", "no probe has run" if probe is None else "its target answers nobody", policy)


def no_api_token_is_mounted(case: Case) -> Iterator[Finding]:
    if case.facts.api_token:
        yield find(RuleId.API_TOKEN_MOUNTED, "serviceAccountToken", "a token lies where a service account's is mounted")


def host_of(address: str) -> str | None:
    """The host of an http address, in lower case and without a last dot; None for what programs could read in two ways."""
    found = endpoint_of(address)
    return found[0] if found is not None else None


def endpoint_of(address: str) -> tuple[str, int] | None:
    """The same host, and the port."""
    match = _HTTP.fullmatch(address)
    host = match[1].lower().rstrip(".") if match else ""
    if match is None or not host:
        return None
    return host, int(match[2][1:]) if match[2] else 443 if address.startswith("https:") else 80


def _complies(node: Mapping[str, str], case: Case, policies: Iterable[Policy]) -> bool:
    zone = _zone(node)
    if any(place != zone for place in case.classification.residencies):
        return False
    return all(
        _holds(allowed(policy.zones, case.level), zone)
        and all(node.get(requirement.key, "") in requirement.values for requirement in policy.node_labels)
        for policy in policies
    )


def _zone(node: Mapping[str, str]) -> str:
    return node.get(LABEL_ZONE, "")


def _holds(entries: tuple[str, ...], word: str) -> bool:
    return EVERYTHING in entries or word in entries


def _from_one_of(prefixes: tuple[str, ...], uri: str) -> bool:
    if EVERYTHING in prefixes:
        return True
    if _SOURCE.fullmatch(uri) is None or any(part in {"", ".", ".."} for part in uri.partition("://")[2].rstrip("/").split("/")):
        return False
    return any(f"{uri}/".startswith(f"{prefix.rstrip('/')}/") for prefix in prefixes)
