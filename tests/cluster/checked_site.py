"""What a kubelet does with the Jobs that read an adapter's files: it runs the real command, on this site's volumes."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune_operator.api.base import LABEL_SERVING_ROLE
from finetune_testbed.apiserver import ApiServer, RequestError
from finetune_trainer.contract import BASE_MOUNT, TERMINATION_LOG
from tests.cluster.finetunejobs import Object
from tests.cluster.job_pods import end_job
from tests.cluster.serving_site import Site

SECONDS = 60.0


class Checker:
    """Runs every check of the namespace until it is closed; what it meets unexpectedly is raised at the end."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.ran: list[str] = []
        self.codes: dict[str, int] = {}
        self._stop = threading.Event()
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        if self._problem is not None:
            raise self._problem

    def _follow(self) -> None:
        place = self.site.place
        path = f"{place.path('jobs', group='batch/v1')}?labelSelector={LABEL_SERVING_ROLE.replace('/', '%2F')}%3Dcheck"
        try:
            with ApiServer(place.bed) as server:
                while not self._stop.wait(0.05):
                    for job in server.request("GET", path)["items"]:
                        if not (job.get("status") or {}).get("conditions"):
                            self._run(server, job)
        except BaseException as problem:  # noqa: BLE001  raised by `close`, in the test's own thread
            self._problem = problem

    def _run(self, server: ApiServer, job: Object) -> None:
        name, (container,) = job["metadata"]["name"], job["spec"]["template"]["spec"]["containers"]
        code, words = self._look(name, container)
        try:
            end_job(server, self.site.place, job, code, words)
        except RequestError as error:
            if error.status != 404:  # deleted meanwhile, as one that nobody waits for
                raise
        self.ran.append(name)
        self.codes[name] = code

    def _look(self, name: str, container: Object) -> tuple[int, str]:
        """Exit code and termination message, which is the log's end where the command wrote none."""
        folder = self.site.folder / "checks" / name
        folder.mkdir(parents=True, exist_ok=True)
        result = folder / "result.json"
        result.touch()
        arguments = [self._here(text, folder, result) for text in container["args"]]
        assert container["command"][0] == "finetune-inference"
        command = [sys.executable, "-m", "finetune_inference.cli.main", *container["command"][1:], *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        return done.returncode, result.read_text() or done.stderr[-2048:]

    def _here(self, text: str, folder: Path, result: Path) -> str:
        """What a path of the pod is on this machine."""
        places = {TERMINATION_LOG: result, "/tmp": folder, f"{BASE_MOUNT}/base": self.site.program.base}
        name, mark, path = text.partition("=")
        if mark and path == f"/mnt/claims/{name}":
            return f"{name}={self.site.volume}"
        return str(places.get(text, text))


@contextmanager
def checker(site: Site) -> Iterator[Checker]:
    here = Checker(site)
    try:
        yield here
    finally:
        here.close()
