"""What the data hold: identifiers under no regime, refuted claims, what the scan cannot see, too few rows, rows twice."""

from collections.abc import Iterator

from finetune_trainer.contract.governance.case import Case, undeclared
from finetune_trainer.contract.governance.facts import DatasetFacts, Stage
from finetune_trainer.contract.governance.findings import Finding, find, listed, shown
from finetune_trainer.contract.governance.policy import Policy
from finetune_trainer.contract.governance.rules import RULES, RuleId
from finetune_trainer.contract.governance.vocabulary import HIPAA_TYPES, Entity, Level


def identifiers_are_declared(case: Case) -> Iterator[Finding]:
    for entity, regime in undeclared(case.facts, case.stated).items():
        yield find(
            RuleId.UNDECLARED_REGIME,
            f"scan.{entity.value}",
            f"identifiers of the kind {entity.value} in data that are not declared {regime}",
        )


def safe_harbor_holds(case: Case) -> Iterator[Finding]:
    claims = [dataset.field for dataset in case.facts.datasets if dataset.claims_safe_harbor]
    if not claims or case.facts.scan is None:
        return
    for hit in sorted(case.facts.scan.hits, key=lambda hit: (hit.entity, hit.rows, hit.validated_rows)):
        if hit.entity not in HIPAA_TYPES:
            continue
        field, kind = f"scan.{hit.entity.value}", HIPAA_TYPES[hit.entity].value
        if hit.validated_rows:
            reason = f"{hit.validated_rows} rows with {kind}, claimed to be de-identified at {listed(claims)}"
            yield find(RuleId.DEIDENTIFICATION_REFUTED, field, reason)
        elif hit.rows:
            yield find(RuleId.DEIDENTIFICATION_DOUBTFUL, field, f"{hit.rows} rows with what looks like {kind}, claimed to be de-identified")


def secrets_are_absent(case: Case) -> Iterator[Finding]:
    for rows in sorted(hit.rows for hit in (case.facts.scan.hits if case.facts.scan else ()) if hit.entity is Entity.SECRET and hit.rows):
        yield find(RuleId.SECRET_IN_DATA, f"scan.{Entity.SECRET.value}", f"{rows} rows with what looks like a key or a token")


def data_may_be_read(case: Case) -> Iterator[Finding]:
    """Before the data are read, and while they are trained on; what has come of them by then is no question of keeping them."""
    if case.facts.stage in (Stage.PROMOTE, Stage.SERVE):
        return
    for dataset in case.facts.datasets:
        if dataset.retain_until is not None and case.now >= dataset.retain_until:
            until = f"{dataset.retain_until:%Y-%m-%d %H:%M} {dataset.retain_until.tzname()}"
            yield find(RuleId.RETENTION_EXPIRED, dataset.field, f"{shown(dataset.uri)} might be kept until {until}{owned_by(dataset)}")


def purpose_is_the_datas(case: Case) -> Iterator[Finding]:
    purpose = case.facts.subject.purpose
    for dataset in case.facts.datasets:
        if dataset.purposes is not None and purpose not in dataset.purposes:
            yield find(
                RuleId.PURPOSE_NOT_ALLOWED, dataset.field, f"{_purpose(purpose)}; it is for {listed(dataset.purposes)}{owned_by(dataset)}"
            )


def purpose_is_the_policys(case: Case, policy: Policy) -> Iterator[Finding]:
    purpose = case.facts.subject.purpose
    if policy.purposes is not None and case.facts.datasets and purpose not in policy.purposes:
        yield find(RuleId.PURPOSE_NOT_ALLOWED, "spec.purpose", f"{_purpose(purpose)}; allowed: {listed(policy.purposes)}", policy)


def owned_by(dataset: DatasetFacts) -> str:
    """Whom to ask, at the end of a reason; nothing where nobody is named."""
    return f"; owner: {shown(dataset.owner)}" if dataset.owner else ""


def _purpose(purpose: str) -> str:
    return f"the job is for {shown(purpose)}" if purpose else "the job states no purpose"


def scan_sees_enough(case: Case, policy: Policy) -> Iterator[Finding]:
    if policy.scan is None or not case.facts.datasets:
        return
    scan = case.facts.scan
    if scan is None:
        if case.due(RuleId.SCAN_COVERAGE_GAP):
            yield find(RuleId.SCAN_COVERAGE_GAP, "scan", "the data were not scanned", policy)
    elif not scan.entire:
        yield find(RuleId.SCAN_COVERAGE_GAP, "scan", "not every row was scanned", policy)
    elif scan.profile < policy.scan and case.level >= Level.RESTRICTED:
        reason = f"profile {scan.profile} sees less than {policy.scan}, for which the trainer image needs a model that finds names"
        yield find(RuleId.SCAN_COVERAGE_GAP, "scan", reason, policy)


def data_are_good_enough(case: Case, policy: Policy) -> Iterator[Finding]:
    quality, report = policy.quality, case.facts.data_report
    if quality is None or not case.facts.datasets:
        return
    if report is None:
        if case.due(RuleId.TOO_FEW_EXAMPLES):
            yield _short(RuleId.TOO_FEW_EXAMPLES, "the rows were not counted", policy)
        return
    wanted = max(quality.min_examples, report.task_minimum)
    if report.examples < wanted:
        yield _short(RuleId.TOO_FEW_EXAMPLES, f"{report.examples} of {wanted}", policy)
    if report.duplicates * 100 > quality.max_duplicate_percent * report.examples:
        yield _short(
            RuleId.TOO_MANY_DUPLICATES, f"{report.duplicates} of {report.examples}, above {quality.max_duplicate_percent} %", policy
        )
    if report.evaluation_overlap > quality.max_evaluation_overlap:
        yield _short(RuleId.EVALUATION_OVERLAP, f"{report.evaluation_overlap} items, above {quality.max_evaluation_overlap}", policy)


def _short(rule: RuleId, reason: str, policy: Policy) -> Finding:
    waivable = policy.quality is not None and policy.quality.waivable
    return find(rule, "data", reason, policy, RULES[rule].otherwise if waivable else None)
