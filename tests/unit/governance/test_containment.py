"""What the policies that apply shut in together: lists intersect, demands add up, and one that only audits shuts nothing in."""

from typing import Any

import pytest
from pydantic import ValidationError

from finetune_trainer.contract.governance import Facts
from finetune_trainer.contract.governance.containment import Containment, contain
from finetune_trainer.contract.governance.policy import Destination
from finetune_trainer.contract.governance.vocabulary import LABEL_ZONE
from tests.unit.governance.samples import FACTS, NOW, policies

CLASS = "gpu.node-restriction.kubernetes.io/class"


def contained(*changes: dict[str, Any]) -> Containment:
    return contain(Facts.model_validate(FACTS), policies(*changes), NOW)


def allowing(*entries: tuple[str, list[int]], dns: str = "None") -> dict[str, Any]:
    return {"network": {"allow": [{"cidr": cidr, "ports": ports} for cidr, ports in entries], "dns": dns}}


def test_unset_egress_is_closed_from_confidential_on_and_nothing_is_open() -> None:
    found = contained()
    assert found.closed
    assert found.allow == ()
    assert not found.cluster_dns
    assert not contained({"egress": "Open"}).closed
    assert not contained({"mode": "Audit"}).closed


def test_of_two_policies_only_what_both_allow_stays_open() -> None:
    one = allowing(("10.0.0.0/8", [443, 5000]), ("192.168.1.0/24", [22]), dns="ClusterOnly")
    other = allowing(("10.1.2.0/24", [443, 9000]), ("192.168.1.0/24", [80]), ("fd00::/8", [443]), dns="ClusterOnly")
    found = contained(one, {"name": "b", **other})
    assert found.allow == (Destination(cidr="10.1.2.0/24", ports=(443,)),)
    assert found.cluster_dns
    assert contained(one, {"name": "b"}).allow == ()
    assert not contained(one, {"name": "b"}).cluster_dns
    alone = contained(one, {"name": "b", "egress": "Open"}).allow
    assert alone == tuple(Destination.model_validate(each) for each in one["network"]["allow"])


@pytest.mark.parametrize(
    ("named", "hosts", "other"), [("trackers", "trackerHosts", "judgeHosts"), ("judges", "judgeHosts", "trackerHosts")]
)
def test_a_tracker_or_a_judge_is_reached_where_every_policy_that_closes_egress_names_its_address(
    named: str, hosts: str, other: str
) -> None:
    def opened(uri: str, *changes: dict[str, Any]) -> tuple[Destination, ...]:
        return contain(Facts.model_validate({**FACTS, named: [uri]}), policies(*changes), NOW).allow

    there = {hosts: ["10.2.3.4", "mlflow.mlops.svc"]}
    tracker = Destination(cidr="10.2.3.4/32", ports=(5000,))
    assert opened("http://10.2.3.4:5000/x", there) == (tracker,)
    assert opened("https://10.2.3.4", there) == (Destination(cidr="10.2.3.4/32", ports=(443,)),)
    assert opened("http://10.2.3.4:5000", {**there, **allowing(("10.0.0.0/24", [443]))})[1:] == (tracker,)
    assert opened("http://10.2.3.4:5000", there, {"name": "b", "egress": "Open"}) == (tracker,)
    assert opened("http://mlflow.mlops.svc:5000", there) == ()  # a rule knows addresses only
    assert opened("http://10.2.3.5:5000", there) == ()
    assert opened("http://10.2.3.4:99999", there) == ()
    assert opened("http://10.2.3.4:5000", there, {"name": "b", hosts: ["*"]}) == ()
    assert opened("http://10.2.3.4:5000", {hosts: None}) == ()
    assert opened("http://10.2.3.4:5000", {hosts: None, other: ["10.2.3.4"]}) == ()


def test_nodes_must_have_every_label_asked_for_and_stand_where_the_data_lie() -> None:
    wanted = {each.key: each.values for each in contained({"zones": ["*"]}).nodes}
    assert wanted == {LABEL_ZONE: ("onprem-a",), CLASS: ("a", "b")}
    assert [each.values for each in contained({"zones": ["eu-de", "onprem-a"]}).nodes if each.key == LABEL_ZONE] == [
        ("onprem-a",),
        ("eu-de", "onprem-a"),
    ]


def test_the_runtime_class_of_a_policy_is_that_of_the_pods() -> None:
    assert contained({"runtimeClassName": "kata"}).runtime_class_name == "kata"
    assert contained({"runtimeClassName": "kata", "mode": "Audit"}).runtime_class_name is None


@pytest.mark.parametrize("cidr", ["10.0.0.1/8", "10.0.0.0/33", "fd00::0/8", "10.0.0.0"])
def test_an_address_range_has_one_way_to_be_written(cidr: str) -> None:
    with pytest.raises(ValidationError):
        Destination.model_validate({"cidr": cidr, "ports": [443]})
