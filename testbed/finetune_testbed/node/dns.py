"""Cluster DNS: CoreDNS as a process in the node's namespace, behind the Service that pods are told to ask."""

from string import Template

from finetune_testbed import binaries, keys
from finetune_testbed.node import configuration
from finetune_testbed.node.kubelet import unhealthy
from finetune_testbed.node.layout import CLUSTER_DOMAIN, NodeLayout
from finetune_testbed.processes import Daemon

READY_PORT = 8181

# There is no outside to forward to: names beyond the cluster are answered with NXDOMAIN at once, not after a timeout.
# Who asks for one is in the log, for `outward`.
_COREFILE = Template("""\
$domain:53 in-addr.arpa:53 ip6.arpa:53 {
    bind $address
    errors
    ready $address:$ready_port
    kubernetes $domain in-addr.arpa ip6.arpa {
        kubeconfig $kubeconfig
        ttl 5
    }
}
.:53 {
    bind $address
    errors
    log . "asked outside: {name} by {remote}"
    template ANY ANY {
        rcode NXDOMAIN
    }
}
""")


def daemon(layout: NodeLayout) -> Daemon:
    """CoreDNS on the node's address; its configuration is written here."""
    bed = layout.bed
    kubeconfig = keys.write_kubeconfig(bed, layout.config / "coredns.kubeconfig", "coredns", bed.node_apiserver_url)
    text = _COREFILE.substitute(address=bed.subnets.node, ready_port=READY_PORT, domain=CLUSTER_DOMAIN, kubeconfig=kubeconfig)
    corefile = configuration.write(layout, "Corefile", text)
    return Daemon(
        name="coredns",
        argv=(str(binaries.path("coredns", bed.cache_dir)), "-conf", str(corefile)),
        ready=lambda: unhealthy(f"http://{bed.subnets.node}:{READY_PORT}/ready"),
        environment=configuration.mark(corefile),
        namespace=str(layout.network_namespace),
    )
