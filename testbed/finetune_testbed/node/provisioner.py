"""The process that gives claims their volumes and takes back what is released.

Two watches wake one loop; the loop looks at everything and acts, so that a missed event or a restart loses nothing.
Run by `node.start`: `python -m finetune_testbed.node.provisioner NAME`.
"""

import argparse
import http.client
import json
import os
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from finetune_testbed import processes, state
from finetune_testbed.apiserver import ApiServer, RequestError
from finetune_testbed.bed import SOURCE, Testbed
from finetune_testbed.node import storage, volumes
from finetune_testbed.node.layout import NodeLayout
from finetune_testbed.processes import Daemon

CLAIMS = "/api/v1/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
RESYNC_SECONDS = 10.0
STALE_SECONDS = 40.0
WATCH_SECONDS = 300
RETRY_SECONDS = 0.5


def daemon(layout: NodeLayout) -> Daemon:
    """The provisioner as a process of the testbed."""
    return Daemon(
        name="provisioner",
        argv=(sys.executable, "-m", "finetune_testbed.node.provisioner", layout.bed.name),
        ready=lambda: problem(layout),
        environment={
            "PYTHONPATH": str(SOURCE),
            "FINETUNE_TESTBED_STATE": str(layout.bed.state_dir.parent),
            "FINETUNE_TESTBED_CACHE": str(layout.bed.cache_dir),
        },
    )


def problem(layout: NodeLayout) -> str | None:
    """Why claims are not served, or None; told by the process's own mark of its last completed look."""
    pulse = _pulse(layout)
    record = processes.read_record(layout.bed, "provisioner")
    if record is None or not pulse.exists() or pulse.read_text() != str(record.pid):
        return "it has not looked at the claims yet"
    age = time.time() - pulse.stat().st_mtime
    return f"its last look at the claims was {age:.0f} s ago" if age > STALE_SECONDS else None


def reconcile(bed: Testbed, server: ApiServer) -> None:
    """One look at all claims and volumes, and all that follows from it. One that fails holds up no other."""
    layout = NodeLayout(bed)
    present = storage.ours(server.request("GET", VOLUMES)["items"])
    for volume in storage.released(present):
        with _reporting(volume):
            volumes.remove(storage.place_of(volume, layout.volumes))
            server.request("DELETE", f"{VOLUMES}/{volume['metadata']['name']}")
    for volume in present:
        if volume.get("status", {}).get("phase") == "Bound":
            with _reporting(volume):
                volumes.ensure(storage.place_of(volume, layout.volumes))  # mounted anew after a crash
    claims = server.request("GET", CLAIMS)["items"]
    names = [volume["metadata"]["name"] for volume in present]
    for decision in storage.wanted(claims, names, bed.node_name, layout.volumes):
        with _reporting(decision.claim):
            _carry_out(decision, server, bed.node_name)


def _carry_out(decision: storage.Provision | storage.Refusal, server: ApiServer, node: str) -> None:
    if isinstance(decision, storage.Refusal):
        _record_event(server, decision.claim, decision.message)
        return
    try:
        volumes.ensure(decision.volume)
    except volumes.VolumeError as error:
        volumes.remove(decision.volume)
        _record_event(server, decision.claim, str(error))
        return
    server.request("POST", VOLUMES, storage.persistent_volume(decision, node))


@contextmanager
def _reporting(what: storage.Object) -> Iterator[None]:
    """Write trouble with one object to the log; the next look tries again."""
    try:
        yield
    except (volumes.VolumeError, processes.ProcessError, RequestError, OSError) as error:
        _report(f"{what['metadata']['name']}: {type(error).__name__}: {error}")


def serve(bed: Testbed) -> None:
    """Run until killed; trouble with the API server is reported and tried again."""
    pulse = _pulse(NodeLayout(bed))
    changed = threading.Event()
    for path in (CLAIMS, VOLUMES):
        threading.Thread(target=_watch, args=(bed, path, changed), daemon=True).start()
    while True:
        changed.clear()
        try:
            with ApiServer(bed) as server:
                reconcile(bed, server)
            pulse.write_text(str(os.getpid()))
        except (OSError, http.client.HTTPException, RequestError) as error:
            _report(f"{type(error).__name__}: {error}")
            time.sleep(RETRY_SECONDS)
            continue
        changed.wait(RESYNC_SECONDS)


def _watch(bed: Testbed, path: str, changed: threading.Event) -> None:
    """Set `changed` on every event of a collection; begin again when the stream ends."""
    while True:
        try:
            _follow(bed, path, changed)
        except (OSError, http.client.HTTPException) as error:
            _report(f"watch {path}: {type(error).__name__}: {error}")
            time.sleep(RETRY_SECONDS)


def _follow(bed: Testbed, path: str, changed: threading.Event) -> None:
    context = ssl.create_default_context(cafile=bed.pki / "ca.crt")
    context.load_cert_chain(bed.pki / "admin.crt", bed.pki / "admin.key")
    connection = http.client.HTTPSConnection("127.0.0.1", bed.ports.apiserver, timeout=WATCH_SECONDS + 30, context=context)
    try:
        # Without a resource version the stream begins with what exists, so nothing between two streams is lost.
        connection.request("GET", f"{path}?watch=1&timeoutSeconds={WATCH_SECONDS}")
        stream = connection.getresponse()
        while stream.readline():
            changed.set()
    finally:
        connection.close()


def _record_event(server: ApiServer, claim: storage.Object, message: str) -> None:
    """Tell the claim's owner; the name is derived from claim and message, so that one refusal is one Event."""
    metadata = claim["metadata"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.provisioning", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "type": "Warning",
        "reason": "ProvisioningFailed",
        "message": message,
        "source": {"component": storage.PROVISIONER},
        "lastTimestamp": now,
    }
    server.apply(f"/api/v1/namespaces/{metadata['namespace']}/events/{metadata['name']}.provisioning", event)


def _pulse(layout: NodeLayout) -> Path:
    return layout.bed.node_dir / "provisioner.pulse"


def _report(text: str) -> None:
    sys.stderr.write(json.dumps({"ts": datetime.now(UTC).isoformat(), "message": text}) + "\n")
    sys.stderr.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the testbed's name")
    bed = state.load(parser.parse_args().name)
    if bed is None:
        raise SystemExit("there is no testbed of this name")
    serve(bed)


if __name__ == "__main__":
    main()
