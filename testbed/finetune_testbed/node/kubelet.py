"""kubelet and kube-proxy: the two Kubernetes programs of a node."""

import urllib.error
import urllib.request

import yaml

from finetune_testbed import binaries, keys
from finetune_testbed.node import configuration
from finetune_testbed.node.layout import CLUSTER_DOMAIN, NodeLayout
from finetune_testbed.processes import Daemon

KUBELET_HEALTH_PORT = 10248
PROXY_HEALTH_PORT = 10256
PROXY_METRICS_PORT = 10249
LABELS = {"finetune.dev/testbed": "real", "finetune.dev/storage": "local"}
MAX_PODS = 110


def kubelet(layout: NodeLayout) -> Daemon:
    """The node agent; its configuration is written here."""
    bed = layout.bed
    resolver = configuration.write(layout, "resolv.conf", f"nameserver {bed.subnets.node}\n")
    address = str(bed.subnets.node)
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "healthzBindAddress": address,
        "healthzPort": KUBELET_HEALTH_PORT,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(bed.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(bed.pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(bed.pki / "kubelet.key"),
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup}",
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": ["pods"],
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [str(bed.subnets.dns_service)],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": str(resolver),
        "podLogsDir": str(layout.pod_logs),
        "volumePluginDir": str(layout.kubelet / "volume-plugins"),
        "maxPods": MAX_PODS,
        # Images come from this host and from no registry: one that is collected cannot be pulled again, and a moment of a full disk,
        # which is the host's and shared, would collect even the sandbox image. Debian's containerd cannot pin images; 0% is off.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        "evictionPressureTransitionPeriod": "10s",
        "containerLogMaxSize": "20Mi",
    }
    config = configuration.write(layout, "kubelet.yaml", yaml.safe_dump(settings, sort_keys=False))
    kubeconfig = keys.write_kubeconfig(bed, layout.config / "kubelet.kubeconfig", "kubelet", bed.node_apiserver_url)
    layout.kubelet.mkdir(parents=True, exist_ok=True)
    return Daemon(
        name="kubelet",
        argv=(
            str(binaries.path("kubelet", bed.cache_dir)),
            f"--config={config}",
            f"--kubeconfig={kubeconfig}",
            f"--root-dir={layout.kubelet}",
            f"--cert-dir={layout.kubelet / 'pki'}",
            f"--hostname-override={bed.node_name}",
            f"--node-ip={address}",
            f"--node-labels={','.join(f'{key}={value}' for key, value in LABELS.items())}",
        ),
        ready=lambda: unhealthy(f"http://{address}:{KUBELET_HEALTH_PORT}/healthz"),
        environment=configuration.mark(config),
        namespace=str(layout.network_namespace),
    )


def proxy(layout: NodeLayout) -> Daemon:
    """Service addresses, by nftables rules in the node's namespace."""
    bed = layout.bed
    address = str(bed.subnets.node)
    kubeconfig = keys.write_kubeconfig(bed, layout.config / "kube-proxy.kubeconfig", "kube-proxy", bed.node_apiserver_url)
    settings = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": bed.node_name,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": str(bed.subnets.pods),
        "detectLocalMode": "ClusterCIDR",
        "healthzBindAddress": f"{address}:{PROXY_HEALTH_PORT}",
        "metricsBindAddress": f"{address}:{PROXY_METRICS_PORT}",
        # The size of the connection table is the host's business.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }
    config = configuration.write(layout, "kube-proxy.yaml", yaml.safe_dump(settings, sort_keys=False))
    return Daemon(
        name="kube-proxy",
        argv=(str(binaries.path("kube-proxy", bed.cache_dir)), f"--config={config}"),
        ready=lambda: unhealthy(f"http://{address}:{PROXY_HEALTH_PORT}/healthz"),
        environment=configuration.mark(config),
        namespace=str(layout.network_namespace),
    )


def unhealthy(address: str) -> str | None:
    """Why a health address does not answer 200, or None when it does."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=2):
            return None
    except (urllib.error.URLError, OSError) as error:
        return f"{address}: {error}"
