"""The project's images, built from its own Dockerfiles straight into a testbed's image store."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from finetune_testbed import binaries, debian
from finetune_testbed.bed import SOURCE, Testbed
from finetune_testbed.images import base, buildkit, oci, recipes
from finetune_testbed.images.buildkit import Build, BuildError
from finetune_testbed.images.recipes import UnknownImageError
from finetune_testbed.node import cgroups, containerd, imagestore
from finetune_testbed.node.layout import NodeLayout
from finetune_testbed.platform import architecture

__all__ = ["BuildError", "UnknownImageError", "build", "build_dockerfile", "ensure_base"]

Progress = Callable[[str], None]
ROOT = SOURCE.parent
KEEP = 2
"""Older images of one name that stay, for pods that still run them."""


def build(bed: Testbed, name: str, progress: Progress) -> str:
    """Let the testbed's node have one of our images: `operator` or `trainer`.

    The container runtime must run (`node.start_runtime` or `node.start`). Nothing is built when none of the files that
    get into the image has changed since it was built.

    Returns:
        `REPOSITORY:KEY@DIGEST`; the key is a hash of what the image was made from.

    Raises:
        UnknownImageError: there is no such image.
        BuildError: a step of the Dockerfile failed.
    """
    recipe = recipes.find(name)
    layout = NodeLayout(bed)
    base_image = _base(bed, progress)
    reference = f"{recipe.repository}:{recipes.content_key(recipe, ROOT, base_image.digest)}"
    if digest := containerd.digest_of(layout, reference):
        buildkit.name_by_digest(layout, reference, digest)  # a build that was interrupted right at its end has not
        return f"{reference}@{digest}"
    progress(f"{name} image: building {recipe.dockerfile}")
    began = time.monotonic()
    what = Build(ROOT, ROOT / recipe.dockerfile, reference, secrets=host_secrets(), arguments=host_proxies())
    digest = _build(layout, what, base_image, progress)
    progress(f"{name} image: {reference} built in {time.monotonic() - began:.0f} s")
    _remove_older(layout, name, reference)
    return f"{reference}@{digest}"


def build_dockerfile(bed: Testbed, context: Path, reference: str, progress: Progress) -> str:
    """Build the Dockerfile of any folder into the node's store under this reference; returns its digest.

    Raises:
        BuildError: a step failed.
    """
    what = Build(context, context / "Dockerfile", reference, secrets=host_secrets(), arguments=host_proxies())
    return _build(NodeLayout(bed), what, _base(bed, progress), progress)


def ensure_base(bed: Testbed, progress: Progress) -> str:
    """Let the node have the base image itself, as a toolbox with Python for tests; returns its reference."""
    layout = NodeLayout(bed)
    base_image = _base(bed, progress)
    if not containerd.has_image(layout, base.REFERENCE):
        archive = base_image.layout.with_suffix(".tar")
        if not archive.exists():
            unfinished = archive.with_suffix(f".{os.getpid()}.partial")
            oci.write_archive(unfinished, base_image.layout)
            unfinished.replace(archive)
        containerd.import_image(layout, archive)
    return base.REFERENCE


def host_secrets() -> dict[str, str]:
    """What this host needs to reach a package registry and an image must not keep: authority and index address."""
    secrets = {}
    authority = os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT")
    if authority and Path(authority).is_file():
        secrets["ca-bundle"] = f"src={authority}"
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if os.environ.get(name):
            secrets["index-url"] = f"env={name}"
            break
    return secrets


def host_proxies() -> dict[str, str]:
    """The proxies this host uses. BuildKit passes these to the steps and keeps them out of image and cache key."""
    names = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def _base(bed: Testbed, progress: Progress) -> base.BaseImage:
    debian.ensure(debian.IMAGE_REQUIREMENTS, progress)
    return base.ensure(bed.cache_dir, architecture(), progress)


def _build(layout: NodeLayout, what: Build, base_image: base.BaseImage, progress: Progress) -> str:
    binaries.ensure(("buildkitd", "buildctl"), layout.bed.cache_dir, progress)
    cgroups.ensure(layout.cgroup)
    return buildkit.build(layout, what, base_image, progress)


def _remove_older(layout: NodeLayout, name: str, newest: str) -> None:
    """Forget all but the last few images of one name. Each is known by its tag and by its digest."""
    record = imagestore.path(layout.bed) / f"built-{name}"
    built = record.read_text().split() if record.exists() else []
    kept = [*(reference for reference in built if reference != newest), newest]
    kept, old = kept[-1 - KEEP :], kept[: -1 - KEEP]
    digests = {containerd.digest_of(layout, reference) for reference in kept}
    for reference in old:
        digest = containerd.digest_of(layout, reference)
        if not digest:
            continue
        containerd.run(layout, "images", "remove", reference)
        if digest not in digests:
            containerd.run(layout, "images", "remove", buildkit.by_digest(reference, digest))
    record.write_text("\n".join(kept))
