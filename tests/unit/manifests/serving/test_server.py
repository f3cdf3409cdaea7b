"""The managed server: who loads, who serves, who says that it is ready."""

from itertools import pairwise

import pytest

from finetune_inference.cli import agent as agent_command
from finetune_inference.cli.serve import parse
from finetune_operator.api.adapterdeployment.spec import Capacity, ServerResources
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.serving import (
    AGENT_PORT,
    ENGINE_ADMIN_PORT,
    ENGINE_PORT,
    JsonObject,
    ServingSettings,
    server_mistake,
    server_name,
    server_objects,
    server_selector,
)
from finetune_operator.manifests.serving.engine import engine_resources, vllm_rank
from tests.unit.manifests.serving.samples import (
    DIGEST,
    EXTERNAL,
    FULL,
    FULL_SETTINGS,
    ONE_CLAIM,
    OWNER,
    SETTINGS,
    SMALL,
    containers_of,
    objects,
    of_kind,
    pod_of,
    read,
)

SERVERS = ("transformers", "vllm", "one-claim")


def engine(name: str) -> JsonObject:
    return containers_of(pod_of(objects()[name]))["engine"]


def agent(name: str) -> JsonObject:
    return containers_of(pod_of(objects()[name]))["agent"]


def flags(container: JsonObject) -> dict[str, str]:
    """Flags and their values; the last of two values counts, as in the programs."""
    arguments: list[str] = container["args"]
    return {flag: value for flag, value in pairwise(arguments) if flag.startswith("--")}


def environment(container: JsonObject) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}


def test_a_server_is_controlled_by_its_deployment_and_gone_with_it():
    for found in objects()["vllm"]:
        (reference,) = found["metadata"]["ownerReferences"]
        assert (reference["kind"], reference["uid"], reference["controller"]) == ("AdapterDeployment", OWNER.uid, True)


def test_pods_of_ones_own_are_found_by_their_labels_and_nothing_is_made_for_them():
    assert server_objects(OWNER, read(EXTERNAL), SETTINGS) == ()
    assert server_selector(OWNER, read(EXTERNAL)) == {"app": "vllm"}
    assert server_mistake(read(EXTERNAL), SETTINGS) is None


def test_managed_pods_are_found_by_their_owner():
    labels = of_kind(objects()["transformers"], "Deployment")["spec"]["template"]["metadata"]["labels"]
    selector = server_selector(OWNER, read(SMALL))
    assert selector == {"finetune.dev/serving-role": "server", "finetune.dev/adapter-deployment": "ticket-router"}
    assert selector.items() <= labels.items()


@pytest.mark.parametrize("name", ["7b", "x" * 52])
def test_a_server_of_any_owner_has_a_name_that_a_service_may_have(name: str):
    found = server_name(Owner("ns", name, "uid"))
    assert found[0].isalpha()
    assert len(found) <= 63


@pytest.mark.parametrize("name", SERVERS)
def test_the_agent_is_up_before_the_engine_and_after_it(name: str):
    assert agent(name)["restartPolicy"] == "Always"
    assert pod_of(objects()[name])["initContainers"] == [agent(name)]


@pytest.mark.parametrize("name", SERVERS)
def test_the_agent_alone_says_whether_a_pod_is_ready(name: str):
    assert agent(name)["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert agent(name)["readinessProbe"]["timeoutSeconds"] == 3
    assert agent(name)["startupProbe"]["httpGet"]["path"] == agent(name)["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert "readinessProbe" not in engine(name)
    startup = engine(name)["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 1800, "a large model takes long to read"


@pytest.mark.parametrize("name", SERVERS)
def test_the_engine_reads_the_store_and_cannot_write_it(name: str):
    (ours,) = (mount for mount in engine(name)["volumeMounts"] if mount["name"] == "store")
    (its,) = (mount for mount in agent(name)["volumeMounts"] if mount["name"] == "store")
    assert ours["mountPath"] == its["mountPath"] == flags(agent(name))["--store"]
    assert ours["readOnly"] is True
    assert "readOnly" not in its
    assert not {"state", "agent-tmp", "token"} & {mount["name"] for mount in engine(name)["volumeMounts"]}


@pytest.mark.parametrize("name", SERVERS)
def test_both_see_the_same_base_model(name: str):
    for container in (engine(name), agent(name)):
        assert any(mount["mountPath"] == "/mnt/base" for mount in container["volumeMounts"])
    model = engine(name)["args"][0] if name != "transformers" else flags(engine(name))["--model"]
    folder = "/mnt/base/" + {"transformers": "tiny-chat", "vllm": "llama/8b", "one-claim": "base"}[name]
    assert model == flags(agent(name))["--base-model"] == folder


def test_claims_of_adapters_are_the_agents_alone_in_any_order_and_each_once():
    claims = [value for flag, value in pairwise(agent("transformers")["args"]) if flag == "--claim"]
    assert claims == ["adapters=/mnt/claims/adapters", "more=/mnt/claims/more"]
    assert not any(mount["mountPath"].startswith("/mnt/claims") for mount in engine("transformers")["volumeMounts"])
    once = server_objects(OWNER, read(FULL), SETTINGS, ("a", "b"))
    assert once == server_objects(OWNER, read(FULL), SETTINGS, ("b", "a", "adapters", "b"))


def test_a_claim_of_adapters_and_base_model_is_one_volume():
    volumes = [volume["name"] for volume in pod_of(objects()["one-claim"])["volumes"] if "persistentVolumeClaim" in volume]
    assert volumes == ["claim-1"]
    paths = {mount["mountPath"] for mount in agent("one-claim")["volumeMounts"] if mount["name"] == "claim-1"}
    assert paths == {"/mnt/base", "/mnt/claims/adapters"}
    assert read(ONE_CLAIM).base_model.uri == "pvc://adapters/base"


def test_the_server_of_ours_takes_its_command_line():
    options = parse(engine("transformers")["args"][:])
    assert engine("transformers")["command"] == ["finetune-inference", "serve"]
    assert (options.host, options.port, options.admin_host, options.admin_port) == ("0.0.0.0", ENGINE_PORT, "127.0.0.1", ENGINE_ADMIN_PORT)
    assert (options.max_loras, options.max_lora_rank, options.served_model_name) == (8, 64, "base")


def test_the_agent_takes_its_command_line():
    arguments = agent("transformers")["args"]
    assert arguments[:4] == ["--adapter-deployment", OWNER.name, "--namespace", OWNER.namespace]
    options = agent_command._parser().parse_args(["--desired", "desired.json", *arguments[4:]])
    assert options.engine_url == f"http://127.0.0.1:{ENGINE_PORT}"
    assert options.engine_admin_url == f"http://127.0.0.1:{ENGINE_ADMIN_PORT}"
    assert options.port == AGENT_PORT
    assert "--engine-admin-url" not in agent("vllm")["args"], "vLLM takes adapters where it answers"


def test_vllm_is_started_as_agent_and_canary_need_it():
    found = flags(engine("vllm"))
    assert engine("vllm")["command"] == ["vllm", "serve"]
    assert "--enable-lora" in engine("vllm")["args"]
    assert (found["--max-loras"], found["--max-cpu-loras"], found["--max-lora-rank"]) == ("3", "6", "64")
    assert (found["--api-server-count"], found["--tensor-parallel-size"], found["--port"]) == ("1", "2", str(ENGINE_PORT))
    assert environment(engine("vllm"))["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"


@pytest.mark.parametrize("name", SERVERS)
def test_engines_ask_and_report_nothing_outside(name: str):
    expected = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
    expected |= {} if name == "transformers" else {"VLLM_NO_USAGE_STATS": "1"}
    assert expected.items() <= environment(engine(name)).items()


def test_the_users_arguments_cannot_open_what_is_closed():
    spec = read({**SMALL, "server": {"managed": {"args": ["--admin-host", "0.0.0.0", "--max-num-seqs", "4"]}}})
    options = parse(containers_of(pod_of(server_objects(OWNER, spec, SETTINGS)))["engine"]["args"])
    assert options.admin_host == "127.0.0.1"
    assert options.max_num_seqs == 4


@pytest.mark.parametrize(("highest", "taken"), [(1, 1), (2, 8), (16, 16), (40, 64), (257, 320), (512, 512)])
def test_vllm_gets_the_smallest_rank_it_knows_that_holds_the_highest(highest: int, taken: int):
    assert vllm_rank(highest) == taken


def test_every_rank_that_the_spec_admits_has_one():
    for rank in range(1, 513):
        assert vllm_rank(Capacity(max_lora_rank=rank).max_lora_rank) >= rank


def test_gpus_are_asked_for_and_memory_is_shared():
    assert engine("vllm")["resources"]["limits"]["example.com/gpu"] == "2"
    assert any(mount["mountPath"] == "/dev/shm" for mount in engine("vllm")["volumeMounts"])
    assert pod_of(objects()["vllm"])["nodeSelector"] == {"zone": "a"}


def test_the_scheduler_learns_of_a_server_whose_spec_asks_for_nothing():
    assert engine_resources(ServerResources()) == {"requests": {"cpu": "1", "memory": "1Gi"}}


def test_limits_without_requests_are_the_requests():
    wanted = ServerResources.model_validate({"limits": {"cpu": 2, "memory": "4Gi"}})
    assert engine_resources(wanted) == {"limits": {"cpu": "2", "memory": "4Gi"}}


def test_scaling_to_none_is_what_it_says():
    spec = read({**SMALL, "server": {"managed": {"replicas": 0}}})
    assert of_kind(server_objects(OWNER, spec, SETTINGS), "Deployment")["spec"]["replicas"] == 0


MISTAKES = {
    "a base model from the hub": (
        {**SMALL, "baseModel": {"uri": "hf://org/name@main"}},
        SETTINGS,
        "spec.baseModel.uri",
        "pvc://CLAIM/PATH",
    ),
    "vLLM without an image": ({**SMALL, "server": {"managed": {"engine": "vLLM"}}}, SETTINGS, "spec.server.managed.image", "Set it"),
}


@pytest.mark.parametrize(("spec", "settings", "field", "remedy"), MISTAKES.values(), ids=MISTAKES)
def test_what_cannot_be_made_is_said_with_field_and_remedy(spec: JsonObject, settings: ServingSettings, field: str, remedy: str):
    mistake = server_mistake(read(spec), settings)
    assert mistake is not None
    assert mistake.field == field
    assert field in mistake.message
    assert remedy in mistake.message
    assert server_objects(OWNER, read(spec), settings) == ()


def test_an_image_comes_from_the_spec_then_from_the_installation():
    vllm = {**SMALL, "server": {"managed": {"engine": "vLLM"}}}
    assert containers_of(pod_of(server_objects(OWNER, read(vllm), FULL_SETTINGS)))["engine"]["image"] == "registry.example/vllm:1"
    assert engine("vllm")["image"] == "registry.example/other-vllm:2"
    assert engine("transformers")["image"] == agent("vllm")["image"].replace(":1", "@sha256:" + "1" * 64)
    assert server_mistake(read({**vllm, "adapter": {"uri": "pvc://a/b", "digest": DIGEST}}), FULL_SETTINGS) is None
