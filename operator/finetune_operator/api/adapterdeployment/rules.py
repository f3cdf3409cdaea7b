"""The CEL rules of an ``AdapterDeployment`` that span fields, each with a message that names the field and the remedy."""

from finetune_operator.api.markers import Rule

ADAPTER = (
    Rule(
        "has(self.fineTuneJobRef) != has(self.uri)",
        "adapter comes from one source: set fineTuneJobRef to follow a job's gated artifact, or uri and digest",
    ),
    Rule(
        "!has(self.uri) || has(self.digest)",
        "adapter.uri needs adapter.digest, so that every pod can check what it loads: copy it from status.artifact.digest of the job",
        field_path=".digest",
    ),
    Rule(
        "!has(self.promotion) || self.promotion == 'Automatic' || has(self.fineTuneJobRef)",
        "adapter.promotion Approval belongs to fineTuneJobRef: a uri and digest typed by hand are approved by being typed",
        field_path=".promotion",
    ),
)

MAX_LORAS = 4
_IN_ONE_BATCH = "(has(self.managed) && self.managed.engine == 'Transformers')"

SERVER = (
    Rule(
        "has(self.managed) != has(self.external)",
        "server is either managed (pods of ours) or external (your own pods, found by labels): set exactly one",
    ),
    Rule(
        f"{_IN_ONE_BATCH} || self.capacity.maxCpuLoras >= self.capacity.maxLoras",
        "server.capacity.maxCpuLoras (kept in memory) must be at least maxLoras (in one batch): raise it",
        field_path=".capacity.maxCpuLoras",
    ),
    Rule(
        f"!{_IN_ONE_BATCH} || self.capacity.maxLoras == {MAX_LORAS}",
        "server.capacity.maxLoras limits vLLM's batches, and engine Transformers computes all that it keeps in one: remove it, "
        "and set maxCpuLoras",
        field_path=".capacity.maxLoras",
    ),
)

_OWN_FLAGS = (
    "--enable-lora", "--max-lora", "--max-cpu-loras", "--api-server-count", "--api-key", "--host", "--port", "--admin-", "--model=",
    "--served-model-name", "--shutdown-timeout",
)  # fmt: skip
_IS_OWN = " || ".join(["a == '--'", "a == '--model'", *(f"a.startsWith('{flag}')" for flag in _OWN_FLAGS)])

MANAGED = (
    Rule(
        f"!has(self.args) || !self.args.exists(a, {_IS_OWN})",
        "server.managed.args must not hold what the operator sets itself (model and its name, addresses, ports, keys, LoRA limits, "
        "processes, shutdown): remove it, or use server.capacity",
        field_path=".args",
    ),
    Rule(
        "self.engine != 'Transformers' || self.resources.gpus <= 1",
        "server.managed.resources.gpus is at most 1 with engine Transformers, which computes on one: raise replicas, or use engine vLLM",
        field_path=".resources.gpus",
    ),
)

_DNS = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"

EXTERNAL = (
    Rule(
        "size(self.matchLabels) > 0",
        "server.external.matchLabels selects your pods: name at least one label, or every pod of the namespace would match",
        field_path=".matchLabels",
    ),
    Rule(
        rf"self.matchLabels.all(k, k.matches('^({_DNS}(\\.{_DNS})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$'))",
        "server.external.matchLabels has a key that no label can have: copy it from the pods",
        field_path=".matchLabels",
    ),
    Rule(
        "self.matchLabels.all(k, k.indexOf('/') <= 253)",
        "server.external.matchLabels has a key whose prefix is longer than the 253 characters of any label's: copy it from the pods",
        field_path=".matchLabels",
    ),
    Rule(
        "!self.adapterMountPath.matches('/\\\\.\\\\.?(/|$)')",
        "server.external.adapterMountPath must not hold '.' or '..' segments: write the path as the engine's container has it",
        field_path=".adapterMountPath",
    ),
)

CAPACITY = (
    Rule(
        "self.maxCpuLoras >= 2",
        "server.capacity.maxCpuLoras must be at least 2: stable and canary are loaded side by side during a rollout",
        field_path=".maxCpuLoras",
    ),
    Rule(
        "self.maxLoras >= 2",
        "server.capacity.maxLoras must be at least 2: stable and canary answer side by side, and would wait for each other",
        field_path=".maxLoras",
    ),
)

STEP = (
    Rule(
        "has(self.shadow) != has(self.weight)",
        "a step either copies requests (shadow) or gives the canary a share of the callers (weight): set exactly one",
    ),
)

_WEIGHTS = "self.steps.filter(s, has(s.weight)).map(s, s.weight)"

CANARY = (
    Rule(
        f"{_WEIGHTS}.isSorted() && {_WEIGHTS}.all(w, {_WEIGHTS}.exists_one(other, other == w))",
        "strategy.canary.steps weights must rise from step to step, so that no caller goes back and forth: sort them, each once",
        field_path=".steps",
    ),
    Rule(
        "self.steps.filter(s, has(s.shadow)).size() == 0 || (self.steps.filter(s, has(s.shadow)).size() == 1 && has(self.steps[0].shadow))",
        "strategy.canary.steps may begin with one shadow step: move it to the front, and remove any other",
        field_path=".steps",
    ),
)

STRATEGY = (
    Rule(
        "!(has(self.canary) && has(self.blueGreen))",
        "strategy is canary or blueGreen, not both: remove one",
        field_path=".blueGreen",
    ),
)

BLUE_GREEN = (
    Rule(
        "!has(self.bakeSeconds) || has(self.shadow)",
        "strategy.blueGreen.bakeSeconds is how long requests are copied: set shadow too, or remove it",
        field_path=".bakeSeconds",
    ),
)

SHARE_CHECK = (
    Rule(
        "!has(self.maxDeltaVsStable) || double(self.maxDeltaVsStable) > 0.0",
        "maxDeltaVsStable must be above 0: two equal versions differ by chance",
        field_path=".maxDeltaVsStable",
    ),
)

LATENCY_CHECK = (
    Rule(
        "has(self.maxSeconds) || has(self.maxRatioVsStable)",
        "a latency check needs maxSeconds, maxRatioVsStable or both: without a limit it would check nothing",
    ),
    Rule(
        "!has(self.maxRatioVsStable) || double(self.maxRatioVsStable) > 1.0",
        "maxRatioVsStable must be above 1: two equal versions differ by chance",
        field_path=".maxRatioVsStable",
    ),
)

_SAME_GATEWAY = (
    "a.name == b.name && has(a.__namespace__) == has(b.__namespace__) && (!has(a.__namespace__) || a.__namespace__ == b.__namespace__) && "
    "(!has(a.sectionName) || !has(b.sectionName) || a.sectionName == b.sectionName)"
)

HTTP_ROUTE = (
    Rule(
        f"self.parentRefs.all(a, self.parentRefs.exists_one(b, {_SAME_GATEWAY}))",
        "traffic.httpRoute.parentRefs names a Gateway twice: name another listener of it in each sectionName, or remove one",
        field_path=".parentRefs",
    ),
    Rule(
        "!has(self.hostnames) || self.hostnames.all(h, !h.matches('^[0-9.]+$'))",
        "traffic.httpRoute.hostnames are names, and no Gateway takes an address: remove it, and reach the Gateway by its address",
        field_path=".hostnames",
    ),
)

_NO_CAPACITY = (
    f"self.server.capacity.maxLoras == {MAX_LORAS} && self.server.capacity.maxCpuLoras == 8 && self.server.capacity.maxLoraRank == 64"
)
"""Its defaults: the schema has put them in where nobody wrote anything."""


def _is(check: str, **values: str) -> str:
    told = " && ".join(
        f"has(self.analysis.checks.{check}.{name}) && self.analysis.checks.{check}.{name} == '{value}'" for name, value in values.items()
    )
    return f"has(self.analysis.checks.{check}) && {told}"


_NO_ANALYSIS = " && ".join(
    (
        "self.analysis.minRequests == 200 && self.analysis.maxWaitSeconds == 3600",
        "self.analysis.onInsufficientData == 'Pause' && self.analysis.provider == 'Routers'",
        _is("errors", maxRate="0.05", maxDeltaVsStable="0.02"),
        *(
            f"{_is(name, quantile='0.95', maxRatioVsStable='1.5')} && !has(self.analysis.checks.{name}.maxSeconds)"
            for name in ("ttft", "itl")
        ),
        "!has(self.analysis.checks.schema) && self.rollback.automatic",
    )
)
"""The defaults of what is about a version that is watched."""

SPEC = (
    Rule("self.modelName == oldSelf.modelName", "modelName cannot change, clients use it: create another AdapterDeployment for a new name"),
    Rule(
        "has(self.server.managed) == has(oldSelf.server.managed)",
        "server cannot change between managed and external under traffic: create another AdapterDeployment",
        field_path=".server",
    ),
    Rule(
        "!has(self.server.managed) || !self.baseModel.uri.startsWith('hf://')",
        "baseModel.uri must be pvc://CLAIM/PATH for a managed server, whose pods have no way to the hub: copy the model to a claim",
        field_path=".baseModel",
    ),
    Rule("self.mode == oldSelf.mode", "mode cannot change under traffic: create another AdapterDeployment", field_path=".mode"),
    Rule(
        "(self.mode == 'Merged') == has(self.merge)",
        "merge says where merged models are written: set it with mode Merged, and remove it otherwise",
        field_path=".merge",
    ),
    Rule(
        "self.mode != 'Merged' || has(self.server.managed)",
        "mode Merged needs server.managed: each version has server pods of its own, which the operator makes",
        field_path=".server",
    ),
    Rule(
        "self.mode != 'Merged' || has(self.baseModel.digest)",
        "mode Merged needs baseModel.digest, which the merge checks: copy it from status.currentRun.inputs.baseDigest of the job",
        field_path=".baseModel",
    ),
    Rule(
        "self.mode != 'Merged' || self.baseModel == oldSelf.baseModel",
        "baseModel cannot change in mode Merged, since it is part of every version: create another AdapterDeployment",
        field_path=".baseModel",
    ),
    Rule(
        f"self.mode != 'Merged' || ({_NO_CAPACITY})",
        "server.capacity is about adapters in an engine, and mode Merged loads none: remove it",
        field_path=".server",
    ),
    Rule(
        "self.mode != 'Merged' || self.preflight.effectProbe == 'Enforce'",
        "preflight.effectProbe cannot be Off in mode Merged: the merge itself refuses an adapter without effect. Remove it",
        field_path=".preflight",
    ),
    Rule(
        "!has(self.server.external) || !has(self.adapter.uri) || !has(self.adapter.digest) || "
        "self.adapter.uri.contains('/' + self.adapter.digest.substring(7, 19))",
        "adapter.uri must end in a folder named by the digest (12 digits or more) for an external server: routers believe an engine no "
        "other path: rename the folder, or take a FineTuneJob's artifact",
        field_path=".adapter",
    ),
    Rule(
        "!has(self.strategy.canary) || self.strategy.canary.steps.all(s, !has(s.analysis) || "
        "s.analysis.all(c, (c == 'Errors' && has(self.analysis.checks.errors)) || (c == 'Schema' && has(self.analysis.checks.schema)) || "
        "(c == 'TTFT' && has(self.analysis.checks.ttft)) || (c == 'ITL' && has(self.analysis.checks.itl))))",
        "a step's analysis names a check without limits: add it to analysis.checks, or remove it from the step",
        field_path=".strategy",
    ),
    Rule(
        f"!has(self.strategy.blueGreen) || has(self.strategy.blueGreen.shadow) || ({_NO_ANALYSIS})",
        "strategy.blueGreen without shadow switches all callers unwatched, which analysis and rollback.automatic cannot change: "
        "set shadow, or remove them",
        field_path=".strategy.blueGreen",
    ),
    Rule(
        "self.approvedVersion == '' || self.adapter.promotion == 'Approval' || "
        "(has(self.strategy.canary) && self.strategy.canary.steps.exists(s, s.approval))",
        "approvedVersion is read where adapter.promotion is Approval, or a canary's step has approval: set one of them, or remove it",
        field_path=".approvedVersion",
    ),
)

DEPLOYMENT = (
    Rule(
        "size(self.metadata.name) <= 52 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name becomes a label and part of the names of all children: at most 52 letters, digits and dashes, no dots",
    ),
    Rule(
        "!has(self.spec.mode) || self.spec.mode != 'Merged' || size(self.metadata.name) <= 40",
        "metadata.name has at most 40 characters in mode Merged, where servers' names also hold a digest: choose a shorter one",
    ),
)
