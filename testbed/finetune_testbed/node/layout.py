"""Where the real node keeps its things, and what its programs are called: values derived from a testbed, no I/O."""

from dataclasses import dataclass
from pathlib import Path

from finetune_testbed.bed import Testbed

PAUSE_IMAGE = "finetune.dev/testbed/pause:1"
CGROUP_PARENT = "finetune-testbed"
CNI_PLUGINS = Path("/usr/lib/cni")
CONTAINERD_NAMESPACE = "k8s.io"
CLUSTER_DOMAIN = "cluster.local"


@dataclass(frozen=True)
class NodeLayout:
    """Paths and names of one node.

    All of it lies under `bed.node_dir` and goes with it; images lie elsewhere and stay, see `imagestore`.
    """

    bed: Testbed

    @property
    def network_namespace(self) -> Path:
        return self.bed.node_dir / "network-namespace"

    @property
    def host_network_namespace(self) -> Path:
        """A handle on the host's own namespace, for image builds, which need a way out."""
        return self.bed.node_dir / "host-network-namespace"

    @property
    def containerd_socket(self) -> Path:
        return self.bed.node_dir / "containerd.sock"

    @property
    def buildkit_socket(self) -> Path:
        return self.bed.node_dir / "buildkitd.sock"

    @property
    def containerd_state(self) -> Path:
        return self.bed.node_dir / "containerd"

    @property
    def cni(self) -> Path:
        return self.bed.node_dir / "cni"

    @property
    def kubelet(self) -> Path:
        return self.bed.node_dir / "kubelet"

    @property
    def pod_logs(self) -> Path:
        return self.bed.node_dir / "pod-logs"

    @property
    def volumes(self) -> Path:
        """Data of the volumes that the provisioner makes, one folder for each."""
        return self.bed.node_dir / "volumes"

    @property
    def config(self) -> Path:
        return self.bed.node_dir / "config"

    @property
    def cgroup(self) -> str:
        """Parent of all pods' control groups, relative to the root of each hierarchy."""
        return f"{CGROUP_PARENT}/{self.bed.name}"

    @property
    def cni_network(self) -> str:
        return f"finetune-testbed-{self.bed.name}"
