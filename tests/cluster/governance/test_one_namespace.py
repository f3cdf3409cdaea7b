"""An operator of one namespace: policies are for others to speak of. No operator of the whole cluster runs beside it here."""

from pathlib import Path

from tests.cluster import governed_site
from tests.cluster.governance.test_standings import policy_status, reason
from tests.cluster.governed_site import Site
from tests.cluster.operator_process import until


def test_it_leaves_policies_to_others_and_speaks_of_its_data(site: Site, tmp_path: Path) -> None:
    with governed_site.governing(site.here, tmp_path):
        site.demand()
        site.register()
        assert until(lambda: reason(site.registered())) == "Registered"
        assert policy_status(site) == {}
