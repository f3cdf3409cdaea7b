"""The policy for what answers requests in governed namespaces: an engine of the installation's, and one that is told no more than its size.

Its pods mount claims of the namespace and see every prompt, so that an image of one's own would be a pod of one's own.
"""

from finetune_operator.api.base import GROUP, VERSION
from finetune_operator.api.crd import ADAPTERDEPLOYMENT
from finetune_operator.manifests.admission import classified
from finetune_operator.manifests.admission.cel import shown, text, texts, together, told, when
from finetune_operator.manifests.admission.enclave import CONFIDENTIAL_HERE, HERE
from finetune_operator.manifests.admission.policy import IMAGES, AdmissionPolicy, Requests
from finetune_trainer.contract.governance.enclosure import EnclosureRuleId
from finetune_trainer.contract.governance.vocabulary import Level

HARMLESS = (
    "--block-size", "--device", "--disable-custom-all-reduce", "--dtype", "--enable-auto-tool-choice", "--enable-chunked-prefill",
    "--enable-prefix-caching", "--enforce-eager", "--gpu-memory-utilization", "--kv-cache-dtype", "--max-model-len",
    "--max-num-batched-tokens", "--max-num-seqs", "--max-prefill-tokens", "--max-total-tokens", "--max-waiting",
    "--no-enable-prefix-caching", "--pipeline-parallel-size", "--quantization", "--seed", "--swap-space", "--tensor-parallel-size",
    "--tool-call-parser",
)  # fmt: skip
"""In full: both engines take beginnings of flags for the flags. All others may load files, run code, send or log what is asked."""


def engines() -> AdmissionPolicy:
    image, rule, managed = "object.spec.server.?managed.?image", EnclosureRuleId.FOREIGN_ENGINE, "spec.server.managed"
    rest = f"{image}.value().substring(x.size())"
    tagged = f"{rest}.startsWith('@') || ({rest}.startsWith(':') && !{rest}.contains('/'))"
    named = f"{image}.value() == x || ({image}.value().startsWith(x) && ({tagged}))"
    variables = {
        "levels": classified.VOCABULARY["levels"],
        **HERE,
        "images": f"[] + {IMAGES}",
        "flags": "object.spec.server.?managed.?args.orValue([]).filter(a, a.startsWith('-')).map(a, a.split('=')[0])",
        "foreign": together(
            (
                when(
                    f"{image}.hasValue() && !variables.images.exists(x, {named})",
                    told(rule, text(f"{managed}.image"), f"{shown(f'{image}.value()')} + ' is none that the platform team has named'"),
                ),
                f"variables.flags.filter(f, !(f in {texts(HARMLESS)})).map(f, "
                + told(rule, text(f"{managed}.args"), f"{shown('f')} + ' may do more than size or speed up the engine'")
                + ")",
            )
        ),
        "findings": f"{CONFIDENTIAL_HERE} ? variables.foreign : []",
    }
    return AdmissionPolicy(
        name="engines",
        message=f"in a governed namespace that may hold {Level.CONFIDENTIAL} data engines are those that the platform team has named",
        requests=(Requests(GROUP, VERSION, (ADAPTERDEPLOYMENT.plural,), ("CREATE", "UPDATE")),),
        variables=variables,
        when={
            "the-engine-has-changed": "request.operation == 'CREATE' || !has(object.metadata.deletionTimestamp) && "
            "object.spec.?server != oldObject.spec.?server"
        },
    )
