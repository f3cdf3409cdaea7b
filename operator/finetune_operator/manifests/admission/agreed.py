"""The policies for Approvals: given by whoever asks, who may, to another's job, for the decision that stands; taken back by who gave them.

Four eyes are compared in a policy of their own, because it has every job of the namespace as a parameter. A job is read from a cache, so in
the first milliseconds of its life it is not found and nothing is compared; its decision comes later, and the operator compares again.
"""

from finetune_operator.api.base import API_VERSION, GROUP, VERSION
from finetune_operator.api.crd import APPROVAL, FINETUNEJOB
from finetune_operator.manifests.admission.cel import quoted, text, told, when
from finetune_operator.manifests.admission.enclave import ASKER, COLLECTORS
from finetune_operator.manifests.admission.policy import ITSELF, AdmissionPolicy, Params, Requests, Validation
from finetune_operator.manifests.admission.subjects import SUBMITTER
from finetune_trainer.contract.governance.enclosure import EnclosureRuleId
from finetune_trainer.contract.governance.vocabulary import SERVICE_ACCOUNTS

_VERB = "'approve-' + object.spec.stage.lowerAscii()"
_ALLOWED = (
    f"authorizer.group({text(GROUP)}).resource(object.spec.subjectRef.resource)"
    f".namespace(request.namespace).name(object.spec.subjectRef.name).check({_VERB}).allowed()"
)
"""RBAC is asked, names of single jobs included; a message cannot ask it."""
_ACCOUNTS = text(SERVICE_ACCOUNTS)
_ACCOUNT = "authorizer.group('').resource('serviceaccounts')"
_NAMED = ".namespace(variables.account[2]).name(variables.account[3])"
_ACTS_AS = (
    f"variables.account.size() == 4 && ({_ACCOUNT}.subresource('token'){_NAMED}.check('create').allowed() || "
    f"{_ACCOUNT}{_NAMED}.check('impersonate').allowed())"
)
"""Whether who asks can be the service account that has submitted; more questions than two cost more than one expression may."""


def approvals() -> AdmissionPolicy:
    gone = f"variables.asker == oldObject.spec.approver || variables.asker in {COLLECTORS} || variables.asker in variables.itself"
    named = "object.spec.subjectRef.resource + '/' + object.spec.subjectRef.name"
    variables = {
        "asker": ASKER["asker"],
        "shown": ASKER["shown"],
        "itself": f"[] + {ITSELF}",
        "forged": when(
            "request.operation == 'CREATE' && object.spec.approver != variables.asker",
            told(EnclosureRuleId.APPROVER_MISMATCH, text("spec.approver"), quoted("variables.shown", before="must be ")),
        ),
        "withdrawn": when(
            f"request.operation == 'DELETE' && !({gone})",
            told(EnclosureRuleId.WITHDRAWN_BY_ANOTHER, text("spec.approver"), quoted("variables.shown", after=" did not give it")),
        ),
        "anybodys": when(
            f"request.operation == 'CREATE' && object.spec.approver.startsWith({_ACCOUNTS})",
            told(EnclosureRuleId.SELF_APPROVAL, text("spec.approver"), text("a service account is whoever can have its token")),
        ),
        "findings": "variables.forged + variables.anybodys + variables.withdrawn",
        "unauthorized": f"[{_not_allowed(named)}]",
    }
    return AdmissionPolicy(
        name=APPROVAL.plural,
        message="an Approval is given by whoever asks, who needs the verb approve-<stage> on the job, and taken back by nobody else",
        requests=(Requests(GROUP, VERSION, (APPROVAL.plural,), ("CREATE", "DELETE")),),
        variables=variables,
        validations=(Validation("findings"), Validation("unauthorized", unless=f"request.operation != 'CREATE' || {_ALLOWED}")),
    )


def four_eyes() -> AdmissionPolicy:
    submitter = f"params.{SUBMITTER}.orValue('')"
    stands = "params.?status.?governance.?digest.orValue('')"
    job = "params.metadata.name"
    variables = {
        "asker": ASKER["asker"],
        "shown": ASKER["shown"],
        "own": when(
            f"{submitter} == variables.asker",
            told(EnclosureRuleId.SELF_APPROVAL, text("spec.approver"), _both("variables.shown", " has submitted ", job)),
        ),
        "nobodys": when(
            f"{submitter} == ''",
            told(EnclosureRuleId.SELF_APPROVAL, text("spec.approver"), quoted(job, before="nobody is known to have submitted ")),
        ),
        "stale": when(
            f"{stands} != object.spec.subjectDigest",
            told(
                EnclosureRuleId.APPROVAL_OF_ANOTHER_DECISION,
                text("spec.subjectDigest"),
                f"{quoted(job, before='of ')} + ({stands} == '' ? ' nothing is decided yet' : ' the decision is ' + {stands})",
            ),
        ),
        "findings": "variables.own + variables.nobodys + variables.stale",
        "account": f"{submitter}.startsWith({_ACCOUNTS}) ? {submitter}.split(':') : []",
        "puppets": when(
            "variables.account.size() == 4",
            told(EnclosureRuleId.SELF_APPROVAL, text("spec.approver"), _both("variables.shown", " can act as who has submitted ", job)),
        ),
    }
    return AdmissionPolicy(
        name="four-eyes",
        message="an Approval is given by another than the job's submitter, for the decision that stands",
        requests=(Requests(GROUP, VERSION, (APPROVAL.plural,), ("CREATE",)),),
        variables=variables,
        when={
            "the-job-that-is-approved-and-nothing-worse": (
                f"{job} == object.spec.subjectRef.name && object.spec.approver == request.userInfo.username && {_ALLOWED}"
            )
        },
        validations=(Validation("findings"), Validation("puppets", unless=f"!({_ACTS_AS})")),
        params=Params(API_VERSION, FINETUNEJOB.kind),
    )


def _not_allowed(named: str) -> str:
    reason = f"{quoted('variables.shown', after=' may not ')} + {_VERB} + ' ' + {named}"
    return told(EnclosureRuleId.NOT_ALLOWED_TO_APPROVE, text("spec.stage"), reason)


def _both(left: str, between: str, right: str) -> str:
    return f"{quoted(left, after=between)} + {quoted(right)}"
