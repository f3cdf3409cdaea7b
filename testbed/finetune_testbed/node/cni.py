"""How pods are wired: one point-to-point link each, routed by the node, with host ports forwarded.

`ptp` in place of `bridge`: with a bridge the answer of one pod to another travels past the node's address
translation, so Services between pods need the kernel's br_netfilter, which not every host has loaded.
"""

import json

from finetune_testbed.node.layout import NodeLayout


def write(layout: NodeLayout) -> None:
    """Write the network list; containerd watches the folder, kubelet reports Ready once it is there."""
    pods = layout.bed.subnets.pods
    network = {
        "cniVersion": "0.4.0",
        "name": layout.cni_network,
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(layout.bed.node_dir / "addresses"),
                    "ranges": [[{"subnet": str(pods), "gateway": str(layout.bed.subnets.bridge_gateway)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    layout.cni.mkdir(parents=True, exist_ok=True)
    (layout.cni / "10-testbed.conflist").write_text(json.dumps(network, indent=2))
