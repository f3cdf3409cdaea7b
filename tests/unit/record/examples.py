"""A record as the operator would write one, and a chain of them, made by hand."""

from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec

from finetune_record.agreement import (
    Agreement,
    Classification,
    Identity,
    Obligation,
    PolicyReference,
    PolicySection,
    Program,
    RecordedFinding,
)
from finetune_record.chain import Entry, next_link
from finetune_record.keys import PrivateKey, key_id
from finetune_record.materials import (
    BaseSection,
    CodeSection,
    DataSection,
    Dropped,
    EgressProbe,
    EnvironmentSection,
    File,
    Generator,
    Licence,
    Measured,
    Report,
    Source,
)
from finetune_record.outcome import EvaluationSection, GateOutcome, JudgeOutcome, MetricOutcome, OutputSection, Retention, RunSection
from finetune_record.sections import Sections
from finetune_record.statement import Statement, content_digest
from finetune_trainer.contract import digest_of
from finetune_trainer.contract.governance.vocabulary import Level

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
KEY: PrivateKey = ec.derive_private_key(0x5EED, ec.SECP256R1())
OTHER_KEY: PrivateKey = ec.derive_private_key(0x07E2, ec.SECP256R1())
PHI = Classification(level=Level.RESTRICTED, regimes=["phi"], residencies=["on-prem"])
CONTENTS = {
    "README.txt": b"",
    "adapter_config.json": b'{"peft_type": "LORA"}\n',
    "adapter_model.safetensors": bytes(range(256)) * 16,
    "finetune.json": b'{"weights": "Adapter"}\n',
}


def digest(text: str) -> str:
    return digest_of(text.encode())


def files(contents: dict[str, bytes] = CONTENTS) -> list[File]:
    return [File(name=name, digest=digest_of(content), bytes=len(content)) for name, content in sorted(contents.items())]


def sections(contents: dict[str, bytes] = CONTENTS, documents: list[File] | None = None, record_digest: str | None = None) -> Sections:
    """A run that fills every section."""
    made = content_digest((file.name, file.digest) for file in files(contents))
    return Sections(
        identity=Identity(
            namespace="clinic",
            job="discharge-letters",
            uid="0b7a3a52-8a55-4c0e-9a51-5b2f6f7c1d11",
            generation=3,
            run_key="ab" * 32,
            run_number=2,
            spec_digest=digest("spec"),
            submitter="jane@example.org",
            authors=["joe@example.org"],
            justification="Shorter letters",
            cluster="c1a0",
            operator=Program(version="0.1.0", image="registry.example/operator@" + digest("operator")),
        ),
        policy=PolicySection(
            decision="Allow",
            decision_digest=digest("decision"),
            classification=PHI,
            policies=[PolicyReference(name="phi", generation=4, uid="p1"), PolicyReference(name="everywhere", generation=1)],
            findings=[
                RecordedFinding(
                    rule="TooFewExamples",
                    severity="NeedsApproval",
                    field="spec.dataset",
                    message="Few examples",
                    policy="phi@4",
                    blocks=False,
                    waived=True,
                )
            ],
        ),
        data=DataSection(
            digest=digest("sealed"),
            format="Chat",
            examples=1200,
            validation_examples=60,
            evaluation_items=200,
            tokens=480_000,
            dropped=[Dropped(reason="TooLong", count=3)],
            duplicates=1,
            evaluation_overlap=0,
            sources=[
                Source(
                    field="spec.dataset",
                    uri="pvc://letters/2026/train.jsonl",
                    digest=digest("rows"),
                    dataset="letters-2026",
                    rows=1263,
                    classification=PHI,
                    purpose="Summaries of letters",
                    licence="LicenseRef-internal",
                    owner="records-office",
                    generated_by=[Generator(name="llama", licence="LicenseRef-scancode-llama-3.1-license-2024")],
                )
            ],
            reports=[Report(kind="scan", digest=digest("scan"), headlines=[Measured(name="nhs-number", value="0")])],
        ),
        base=BaseSection(
            uri="pvc://models/smol",
            digest=digest("base"),
            licences=[Licence(key="Apache-2.0", category="Permissive")],
            obligations=[Obligation(licence="Apache-2.0", notice="See NOTICE")],
        ),
        code=CodeSection(
            trainer_image="registry.example/trainer@" + digest("trainer"), versions={"torch": "2.15.0", "peft": "0.21.2"}, seed=7
        ),
        environment=EnvironmentSection(
            node="node-7",
            node_labels={"zone.node-restriction.kubernetes.io/name": "on-prem"},
            egress=EgressProbe(result="Closed", log_digest=digest("probe"), watch_digest=digest("watch"), watch_rounds=21, at=NOW),
        ),
        run=RunSection(
            started_at=NOW,
            finished_at=NOW + timedelta(minutes=20),
            steps=150,
            epoch="2.0",
            loss="0.71",
            tokens=960_000,
            seconds=1100,
            training_flop="7.8e14",
            base_training_flop="9e21",
        ),
        evaluation=EvaluationSection(
            verdict="Pass",
            items=200,
            message="better on all",
            metrics=[MetricOutcome(name="ExactMatch", base="0.31", tuned="0.58", delta="0.27", low="0.19", high="0.35", verdict="Pass")],
            gates=[GateOutcome(name="quality", verdict="Pass", items=200, method="exact McNemar")],
            dataset_digest=digest("evaluation"),
            judge=JudgeOutcome(
                endpoint="http://judge.models:8000/v1",
                model="critic",
                prompt_digest=digest("prompt"),
                usable=True,
                calibration_pairs=32,
                calibration_right=31,
                wins=120,
                losses=40,
                ties=40,
            ),
        ),
        approvals=[
            Agreement(
                approver="ada@example.org", stage="Train", given_at=NOW, subject_digest=digest("decision"), reason="Looked at the plan"
            ),
            Agreement(approver="bob@example.org", stage="Train", given_at=NOW, subject_digest=digest("decision")),
        ],
        waivers=[
            Agreement(
                approver="eve@example.org",
                stage="Waive",
                given_at=NOW,
                subject_digest=digest("decision"),
                expires_at=NOW + timedelta(days=30),
            )
        ],
        outputs=OutputSection(
            uri=f"pvc://adapters/{made.removeprefix('sha256:')}",
            digest=made,
            bytes=sum(len(content) for content in contents.values()),
            promotable=True,
            classification=PHI,
            documents=documents or [],
            record_digest=record_digest,
            retention=Retention(record_until=NOW + timedelta(days=3653)),
        ),
    )


def statement(head: Entry | None = None, given: Sections | None = None, contents: dict[str, bytes] = CONTENTS) -> Statement:
    """The next record of the chain of namespace clinic."""
    seq = head.link.seq if head else 0
    return Statement.of(
        given or sections(contents), files(contents), next_link("clinic", head, NOW + timedelta(minutes=seq), key_id(KEY.public_key()))
    )
