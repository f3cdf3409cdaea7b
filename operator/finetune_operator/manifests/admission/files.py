"""The policies as files of the chart: YAML in which Helm replaces what only an installation knows."""

import yaml

from finetune_operator.manifests.admission import AdmissionPolicy, FillingPolicy

HEADER = (
    "# Generated from finetune_operator.manifests.admission by hack/manifests.sh; do not edit. Helm replaces __WORDS__ like this one.\n"
)


def file_name(policy: AdmissionPolicy | FillingPolicy) -> str:
    return f"{policy.name}.yaml"


def to_yaml(policy: AdmissionPolicy | FillingPolicy) -> str:
    """The same text for the same policy, always."""
    return HEADER + yaml.dump_all(policy.to_manifests(), Dumper=_Dumper, sort_keys=False, width=140, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Long expressions stay as they are written, line by line and without another pair of quotation marks."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value or len(value) > 100 else None)


_Dumper.add_representer(str, _text)
