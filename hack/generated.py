"""What is generated from the API's models, and whether the committed files still agree: the work behind ``hack/manifests.sh``."""

import difflib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "operator"), str(ROOT / "trainer_image"), str(ROOT / "record")]

from finetune_operator.api import crd, reference  # noqa: E402
from finetune_operator.manifests import admission  # noqa: E402
from finetune_operator.manifests.admission import files as admission_files  # noqa: E402
from finetune_record.reference import record_page  # noqa: E402


def generated_files() -> dict[Path, str]:
    """Every generated file and its text, by path from the root."""
    files: dict[Path, str] = {}
    for kind in crd.KINDS:
        files[Path("crds", crd.file_name(kind))] = crd.to_yaml(kind.to_manifest())
        files[Path("charts/finetune-operator/files/crds", crd.file_name(kind))] = crd.to_yaml(crd.kept_by_helm(kind))
        files[Path("docs/reference", f"{kind.singular}.md")] = reference.fields_page(kind)
    for policy in admission.POLICIES:
        files[Path("charts/finetune-operator/files/admission", admission_files.file_name(policy))] = admission_files.to_yaml(policy)
    for filling in admission.FILLING:
        files[Path("charts/finetune-operator/files/filling", admission_files.file_name(filling))] = admission_files.to_yaml(filling)
    files[Path("docs/reference/reasons.md")] = reference.reasons_page()
    files[Path("docs/reference/adapterdeployment-reasons.md")] = reference.serving_reasons_page()
    files[Path("docs/reference/governance-rules.md")] = reference.governance_rules_page()
    files[Path("docs/reference/record.md")] = record_page()
    return files


def drifted(files: dict[Path, str]) -> list[str]:
    """Unified differences between what is committed and what the models say."""
    differences = []
    for path, text in files.items():
        committed = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else ""
        if committed != text:
            lines = difflib.unified_diff(committed.splitlines(), text.splitlines(), f"{path} (committed)", f"{path} (models)", lineterm="")
            differences.append("\n".join(lines))
    return differences


def main(arguments: list[str]) -> int:
    files = generated_files()
    if arguments == ["--check"]:
        differences = drifted(files)
        for difference in differences:
            sys.stdout.write(difference + "\n")
        if differences:
            sys.stdout.write("generated files differ from the models: run `make manifests` and commit the result\n")
        return 1 if differences else 0
    if arguments:
        sys.stderr.write("usage: hack/manifests.sh [--check]\n")
        return 2
    for path, text in files.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
