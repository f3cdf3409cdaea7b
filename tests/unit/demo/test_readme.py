"""Commands of the README lead where they say."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("page", ["README.md", "charts/finetune-operator/README.md"])
def test_the_images_that_the_reader_pushes_are_those_that_the_chart_asks_for(page: str) -> None:
    chart = ROOT / "charts" / "finetune-operator"
    version = yaml.safe_load((chart / "Chart.yaml").read_text())["appVersion"]
    values = yaml.safe_load((chart / "values.yaml").read_text())
    text = (ROOT / page).read_text()
    images = {
        "operator/Dockerfile": values["image"],
        "trainer_image/Dockerfile": values["trainer"]["image"],
        "inference_image/Dockerfile": values["serving"]["image"],
    }
    for dockerfile, image in images.items():
        assert image["tag"] == "", "the chart's default tag is its appVersion"
        reference = f"REGISTRY/{image['repository']}:{version}"
        assert f"docker build -f {dockerfile} -t {reference} ." in text
        assert f"docker push {reference}" in text
        assert f"repository=REGISTRY/{image['repository']}" in text
        assert (ROOT / dockerfile).exists()
