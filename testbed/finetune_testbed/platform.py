"""What this host is, in the words of Go and OCI."""

import os


def architecture() -> str:
    """GOARCH of this host: the architecture of images that it can run."""
    return {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
