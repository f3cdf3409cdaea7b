"""Images come from Dockerfiles, without a registry: built in the node's store, runnable there, and only when something changed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_testbed import images, node
from finetune_testbed.bed import Testbed
from finetune_testbed.images.buildkit import by_digest
from tests.e2e.cluster import Cluster

DOCKERFILE = """\
FROM debian:bookworm-slim
RUN python3 -c "print('built: ' + '6' * 3, file=open('/greeting', 'w'))"
COPY words /words
USER 10001:10001
ENTRYPOINT ["cat", "/greeting", "/words"]
"""


@pytest.fixture(scope="module")
def cluster(t3: Testbed) -> Iterator[Cluster]:
    made = Cluster(t3, "image-tests")
    yield made
    made.kubectl("delete", "namespace", "image-tests", "--timeout=300s")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "words").write_text("copied\n")
    return tmp_path


def test_an_image_built_from_a_dockerfile_runs_on_the_node(t3: Testbed, cluster: Cluster, folder: Path) -> None:
    reference = "test.invalid/greeting:1"
    digest = images.build_dockerfile(t3, folder, reference, print)
    for name, image in (("by-tag", reference), ("by-digest", by_digest(reference, digest))):
        assert cluster.run_job(name, image, "cat", "/greeting", "/words") == 0
        assert cluster.kubectl("logs", f"job/{name}").split() == ["built:", "666", "copied"]


def test_a_step_that_fails_is_shown_with_its_own_words(t3: Testbed, folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM debian:bookworm-slim\nRUN echo no such luck >&2; exit 3\n")
    with pytest.raises(images.BuildError, match="no such luck"):
        images.build_dockerfile(t3, folder, "test.invalid/broken:1", print)


def test_a_secret_of_the_build_is_not_in_the_image(t3: Testbed, cluster: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = folder / "authority.pem"
    authority.write_text("only while building")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    (folder / "Dockerfile").write_text(
        "FROM debian:bookworm-slim\nRUN --mount=type=secret,id=ca-bundle,required=false wc --bytes < /run/secrets/ca-bundle > /length\n"
    )
    images.build_dockerfile(t3, folder, "test.invalid/secret:1", print)
    assert cluster.run_job("secret", "test.invalid/secret:1", "sh", "-c", "cat /length; test ! -s /run/secrets/ca-bundle") == 0
    assert cluster.kubectl("logs", "job/secret").strip() == str(len("only while building"))


def test_the_build_leaves_no_daemon_behind(t3: Testbed, folder: Path) -> None:
    images.build_dockerfile(t3, folder, "test.invalid/greeting:2", print)
    assert not node.NodeLayout(t3).buildkit_socket.exists()
    assert node.healthy(t3) == []


def test_the_operator_image_is_built_once_and_answers(t3: Testbed, cluster: Cluster) -> None:
    first = images.build(t3, "operator", print)
    said: list[str] = []
    assert images.build(t3, "operator", said.append) == first
    assert said == []
    repository, _, digest = first.partition("@")
    command = ("python3", "-c", "import finetune_operator.api, finetune_trainer.contract, sys; sys.exit('torch' in sys.modules)")
    assert cluster.run_job("imports", by_digest(repository, digest), *command) == 0
