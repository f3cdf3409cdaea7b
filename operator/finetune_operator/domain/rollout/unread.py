"""Whether the files of a version, whose uri a person has typed, have to be read before anything is made for it."""

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.api.adapterdeployment.status import CheckedVersion
from finetune_operator.api.uris import volume_path
from finetune_operator.domain.rollout.observed import RolloutObserved
from finetune_operator.manifests.serving import check_basis


def is_unread(spec: AdapterDeploymentSpec, observed: RolloutObserved, checked: list[CheckedVersion], uri: str, digest: str) -> bool:
    """What a FineTuneJob has made is known by its record, and a merge reads the files by itself.

    Where the namespace is governed, an adapter's record has to have been read with them.
    """
    if not observed.settings.checks_files or spec.merged or spec.adapter.uri is None or volume_path(uri) is None:
        return False
    if spec.server.managed is not None and volume_path(spec.base_model.uri) is None:
        return False  # no server can be made of it, which is said where that is tried
    basis = check_basis(spec, uri, digest)
    needs_record = observed.governance is not None and observed.governance.governed
    return not any(known.basis == basis and (known.record is not None or not needs_record) for known in checked)
