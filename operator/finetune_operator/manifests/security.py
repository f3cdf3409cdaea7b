"""What the restricted Pod Security level asks of every pod of ours, and a root file system that nobody can write.

https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

from typing import Any

IMAGE_UID = 10001
"""User and group of our images; an image of somebody else's is run as the same."""


def pod_security() -> dict[str, Any]:
    """For the pod: volumes belong to our group, so that containers share them without a privileged one that changes owners."""
    return {
        "runAsNonRoot": True,
        "runAsUser": IMAGE_UID,
        "runAsGroup": IMAGE_UID,
        "fsGroup": IMAGE_UID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """For each of its containers."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }
