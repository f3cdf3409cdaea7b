"""Single-layer OCI images written by hand, for the two images that no Dockerfile can start from.

The base system and the pause program come from this host, not from a registry; an OCI layout on disk is what both
BuildKit (`oci-layout://`) and containerd (`ctr images import`) accept.
Source: OCI image-spec v1.1, image-layout.md, manifest.md, config.md.
"""

import hashlib
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_CHUNK = 1 << 20


def write_layout(
    directory: Path,
    tree: Path,
    reference: str,
    *,
    architecture: str,
    entrypoint: Sequence[str] = (),
    environment: Sequence[str] = (),
) -> str:
    """Turn a file tree into an OCI layout of one uncompressed layer.

    Args:
        directory: where the layout is written; made if absent, must hold no other layout.
        tree: the root file system.
        reference: full image name with tag, e.g. `docker.io/library/debian:bookworm-slim`.
        architecture: GOARCH name of the programs in the tree.
        entrypoint: exec form.
        environment: `NAME=value` entries.

    Returns:
        Digest of the manifest, `sha256:…`.
    """
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layer = _add_layer(blobs, tree)
    process: dict[str, object] = {"Env": list(environment)}
    if entrypoint:
        process["Entrypoint"] = list(entrypoint)
    config = _add_json(
        blobs,
        CONFIG_TYPE,
        {
            "architecture": architecture,
            "os": "linux",
            "config": process,
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        },
    )
    manifest = _add_json(
        blobs,
        MANIFEST_TYPE,
        {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": [layer]},
    )
    names = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference.rsplit(":", 1)[1]}
    index = {"schemaVersion": 2, "manifests": [{**manifest, "annotations": names}]}
    (directory / "index.json").write_text(json.dumps(index))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(manifest["digest"])


def write_archive(archive: Path, layout: Path) -> None:
    """Pack a layout into the one file that `ctr images import` reads."""
    with tarfile.open(archive, "w") as tar:
        for path in sorted(layout.rglob("*")):
            if path.is_file():
                tar.add(path, arcname=str(path.relative_to(layout)))


def _add_layer(blobs: Path, tree: Path) -> Mapping[str, object]:
    """Pack the tree; names are sorted so that the same tree gives the same digest, and device nodes are left out."""
    packed = blobs / "layer.partial"
    subprocess.run(
        (
            *("tar", "--create", f"--file={packed}", f"--directory={tree}", "--sort=name", "--numeric-owner"),
            *("--exclude=./dev/*", "--exclude=./proc/*", "--exclude=./sys/*", "."),
        ),
        check=True,
    )
    digest = hashlib.sha256()
    with packed.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    packed.rename(blobs / digest.hexdigest())
    size = (blobs / digest.hexdigest()).stat().st_size
    return {"mediaType": LAYER_TYPE, "digest": f"sha256:{digest.hexdigest()}", "size": size}


def _add_json(blobs: Path, media_type: str, content: Mapping[str, object]) -> Mapping[str, object]:
    encoded = json.dumps(content, sort_keys=True).encode()
    digest = hashlib.sha256(encoded).hexdigest()
    (blobs / digest).write_bytes(encoded)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(encoded)}
