"""Everything that is known of a run, in sections; only its place in the chain is added when it is recorded."""

from pydantic import Field

from finetune_record.agreement import Agreement, Identity, PolicySection
from finetune_record.materials import BaseSection, CodeSection, DataSection, EnvironmentSection
from finetune_record.outcome import EvaluationSection, OutputSection, RunSection
from finetune_trainer.contract import Document


class Sections(Document):
    """What is absent is not known; an empty list says that there was nothing."""

    identity: Identity = Field(description="Whose run it was.")
    policy: PolicySection | None = Field(default=None, description="By which rules it was decided; absent where none has a say.")
    data: DataSection = Field(description="What was trained on.")
    base: BaseSection = Field(description="What was tuned.")
    code: CodeSection = Field(default=CodeSection(), description="What ran.")
    environment: EnvironmentSection | None = Field(default=None, description="Where it ran.")
    run: RunSection = Field(default=RunSection(), description="The training itself.")
    evaluation: EvaluationSection | None = Field(default=None, description="How the result compares; absent where nothing was evaluated.")
    approvals: list[Agreement] = Field(default_factory=list, max_length=64, description="Who let it go on.")
    waivers: list[Agreement] = Field(default_factory=list, max_length=64, description="Who let findings pass.")
    outputs: OutputSection = Field(description="What was published.")
