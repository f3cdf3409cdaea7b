"""A judge behind HTTP: what it is asked, what is made of its verdicts, and every way in which it can fail."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from finetune_trainer.cli.evaluate import execute
from finetune_trainer.contract import Judge, RunSpec
from finetune_trainer.evaluation.judge import Judging
from finetune_trainer.evaluation.judge.endpoint import Access, JudgeEndpoint
from finetune_trainer.evaluation.judge.judging import CONCURRENCY
from finetune_trainer.pod.context import StepContext
from finetune_trainer.pod.datamanifest import seal_data
from finetune_trainer.pod.errors import ConfigurationError, StepError, Stopped, StorageError
from tests.engines.ports import free_port
from tests.process.conftest import Run
from tests.process.judges import Opinion, ScriptedJudge, serving
from tests.unit.trainer.evaluation.judged import numbered
from tests.unit.trainer.evaluation.test_evaluate_command import trained

ITEMS = numbered(12)
NOTHING = Access()
REFERENCES = {f"[user]\n{item.prompt[0]['content']}": item.reference for item in ITEMS if isinstance(item.prompt, list)}


def knows(request: str, first: str, second: str) -> str:
    """Right where it knows the reference; else the answer that says "good"; else neither."""
    right = REFERENCES.get(request)
    for letter, text in (("A", first), ("B", second)):
        if text == right or "good" in text:
            return letter
    return "C"


def likes_the_first(request: str, first: str, second: str) -> str:
    return "A"


def judging(judge: ScriptedJudge, *, access: Access = NOTHING, stop: Callable[[], bool] = lambda: False) -> Judging:
    named = Judge(endpoint=judge.endpoint, model="critic")
    return Judging(connect=lambda: JudgeEndpoint(named, access, 7, pause_seconds=0.001, patience_seconds=60), stop=stop)


def certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1 that vouches for itself, in one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "judge")])
    now, address = datetime.now(UTC), x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1)).add_extension(address, critical=False)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.sign(key, SHA256()).public_bytes(Encoding.PEM)
    (folder / "judge.pem").write_bytes(text)
    return folder / "judge.pem"


@pytest.fixture
def judged() -> Iterator[Callable[..., ScriptedJudge]]:
    """Start a scripted judge; it is ended after the test."""
    running = []

    def start(opinion: Opinion = knows, **script: Any) -> ScriptedJudge:
        running.append(serving(ScriptedJudge(opinion, **script)))
        return running[-1].__enter__()

    yield start
    for each in running:
        each.__exit__(None, None, None)


def test_a_good_judge_is_calibrated_and_its_verdicts_count(judged: Callable[..., ScriptedJudge]) -> None:
    judge = judged()
    judges = judging(judge, access=Access("sesame"))
    calibrated = judges.calibrate(ITEMS)
    assert (calibrated.usable, calibrated.calibration_pairs, calibrated.calibration_right) == (True, 12, 12)
    base = ["bad"] * 6 + ["good"] * 2 + ["same"] * 4
    tuned = ["good"] * 6 + ["bad"] * 2 + [" same "] * 2 + ["other"] * 2
    shares, summary = judges.compare(ITEMS, base, tuned, lambda done: None)
    assert shares == [1.0] * 6 + [0.0] * 2 + [0.5] * 4
    assert (summary.wins, summary.losses, summary.ties, summary.flipped, summary.unread) == (6, 2, 4, 0, 0)
    assert (summary.model, summary.fingerprint) == ("critic-2026", "fp_1")
    assert judge.tokens == {"Bearer sesame"}
    assert len(judge.asked) == 2 * 12 + 2 * 10, "both orders, and no question about answers that are the same"
    assert all(
        (each["path"], each["model"], each["temperature"], each["seed"]) == ("/v1/chat/completions", "critic", 0, 7) for each in judge.asked
    )


def test_a_pair_that_flips_with_the_order_is_a_tie_and_a_judge_that_only_looks_at_the_place_is_not_believed(
    judged: Callable[..., ScriptedJudge],
) -> None:
    judge = judged()
    judges = judging(judge)
    assert judges.calibrate(ITEMS).usable
    judge.opinion = likes_the_first
    shares, summary = judges.compare(ITEMS, ["one"] * 12, ["two"] * 12, lambda done: None)
    assert (set(shares), summary.ties, summary.flipped, summary.usable) == ({0.5}, 12, 12, True)
    found = judges.calibrate(ITEMS)
    assert (found.usable, found.calibration_right) == (False, 0)
    assert "of 12 pairs whose better answer is known 0 were judged right in both orders" in found.message


def test_verdicts_that_cannot_be_read_are_no_verdicts(judged: Callable[..., ScriptedJudge]) -> None:
    judge = judged()
    judges = judging(judge)
    assert judges.calibrate(ITEMS).usable
    judge.opinion = lambda *_: "It depends."
    assert not judges.compare(ITEMS, ["one"] * 12, ["two"] * 12, lambda done: None)[1].usable
    assert "of 12 a verdict could not be read" in judges.calibrate(ITEMS).message
    judge.opinion, judge.always = knows, 400
    assert not judges.calibrate(ITEMS).usable


def test_passing_failures_are_tried_again(judged: Callable[..., ScriptedJudge]) -> None:
    judge = judged(failures=[503, 429, 500])
    assert judging(judge).calibrate(ITEMS).usable
    assert len(judge.asked) == 3 + 2 * len(ITEMS)


def test_a_few_are_asked_at_once_and_no_more(judged: Callable[..., ScriptedJudge]) -> None:
    judge = judged()
    judge.gate.clear()

    def opened_once_all_have_come() -> bool:
        if judge.most_at_once >= CONCURRENCY:
            judge.gate.set()
        return False

    assert judging(judge, stop=opened_once_all_have_come).calibrate(ITEMS).usable
    assert judge.most_at_once == CONCURRENCY


def unreachable() -> ScriptedJudge:
    """A port that is nobody's."""
    return ScriptedJudge(knows, endpoint=f"http://127.0.0.1:{free_port()}/v1")


@pytest.mark.parametrize(
    ("script", "kind", "told"),
    [
        ({"always": 503}, StorageError, "JudgeUnreachable: spec.evaluation.judge.endpoint: .* tried 4 times .HTTP 503"),
        ({"always": 401}, ConfigurationError, "JudgeRefused: .* refuses the token"),
        ({"always": 404}, ConfigurationError, "JudgeRefused: .* knows no such model"),
        ({"always": 302}, ConfigurationError, "JudgeRefused: .*HTTP 302"),
        ({"body": b"<html>"}, ConfigurationError, "JudgeRefused: .* another form"),
        ({"body": b"[" * (2 << 20)}, ConfigurationError, "JudgeRefused: .* another form"),
        ({"body": b'{"choices": []}'}, ConfigurationError, "JudgeRefused: .* another form"),
    ],
)
def test_each_way_to_fail_has_its_reason_field_and_next_action(
    judged: Callable[..., ScriptedJudge], script: dict[str, Any], kind: type[StepError], told: str
) -> None:
    judge = judged(**script)
    with pytest.raises(kind, match=told) as caught:
        judging(judge).calibrate(ITEMS)
    assert caught.value.hint
    assert not any(item.reference in f"{caught.value}{caught.value.hint}" for item in ITEMS)
    assert not any(each["path"].endswith("elsewhere") for each in judge.asked), "a redirect is not followed"


def test_a_judge_that_is_not_there_may_be_there_at_the_next_attempt() -> None:
    with pytest.raises(StorageError, match=r"JudgeUnreachable: .*ConnectError"):
        judging(unreachable()).calibrate(ITEMS)


def test_credentials_that_are_none_are_told_by_their_field_and_not_by_their_text(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("two\nwords")
    with pytest.raises(
        ConfigurationError, match=r"JudgeCredentialsInvalid: spec.evaluation.judge.credentialsSecretRef: .* token"
    ) as caught:
        judging(unreachable(), access=Access.of(tmp_path)).calibrate(ITEMS)
    assert "words" not in str(caught.value)
    (tmp_path / "token").write_text("\n")
    (tmp_path / "ca.crt").write_text("no certificate")
    assert Access.of(tmp_path).token is None
    with pytest.raises(ConfigurationError, match=r"JudgeCredentialsInvalid: .* ca.crt holds no certificates"):
        judging(unreachable(), access=Access.of(tmp_path)).calibrate(ITEMS)


def test_a_certificate_of_ones_own_is_checked_by_the_authorities_that_are_named(
    judged: Callable[..., ScriptedJudge], tmp_path: Path
) -> None:
    signed = certificate(tmp_path)
    judge = judged(certificate=signed)
    assert judging(judge, access=Access(authorities=signed)).calibrate(ITEMS[:5]).usable
    with pytest.raises(StorageError, match=r"JudgeUnreachable: .*ConnectError"):
        judging(judge).calibrate(ITEMS)


def test_a_run_that_is_judged_is_told_of_a_refusal_before_it_trains_and_of_an_absence_after_it(
    judged: Callable[..., ScriptedJudge], new_run: Callable[..., Run]
) -> None:
    judge = judged(always=401)
    training = {"max_steps": 2, "batch_size": 4, "micro_batch_size": 4}
    run = new_run(
        training=training, evaluation={"metrics": ["Judge"], "max_new_tokens": 4, "judge": {"endpoint": judge.endpoint, "model": "critic"}}
    )
    lines = [{"row": item.row, "prompt": item.prompt, "reference": item.reference} for item in ITEMS[:5]]
    run.workspace.evaluation_items.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = (run.workspace.train_rows, run.workspace.validation_rows, run.workspace.evaluation_items)
    seal_data(run.workspace, [path.name for path in rows], [], {"made": "for a test"})
    refused = run.start()
    assert (refused.wait(), refused.message().reason, refused.events("training")) == (64, "JudgeRefused", []), refused.errors()
    judge.always = 503
    away = run.start()
    assert (away.wait(), away.message().reason) == (74, "JudgeUnreachable"), away.errors()
    assert [event["reason"] for event in away.events("warning") if "Judge" in event["reason"]] == ["JudgeUnreachable"]
    assert away.events("training")
    judge.always = 0
    back = run.start()
    assert back.wait() == 0, back.errors()
    assert not back.events("training"), "what was trained stays trained"
    summary = back.message().summary
    assert summary is not None
    assert summary.train is not None
    found = summary.train.evaluation.judge
    assert found is not None
    assert (found.usable, found.calibration_pairs, found.model) == (True, 5, "critic-2026")
    told = (run.folder / "events.jsonl").read_text() + "".join(attempt.last_words.read_text() for attempt in (refused, away, back))
    assert not any(item.reference in told for item in ITEMS)


def test_a_stop_does_not_wait_for_the_judge(judged: Callable[..., ScriptedJudge]) -> None:
    judge = judged()
    judge.gate.clear()
    with pytest.raises(Stopped):
        judging(judge, stop=lambda: len(judge.asked) > 0).calibrate(ITEMS)
    assert len(judge.asked) <= CONCURRENCY


def test_the_evaluate_step_measures_by_judge_and_leaves_no_text(
    judged: Callable[..., ScriptedJudge],
    run_spec: Callable[..., RunSpec],
    step_context: Callable[..., StepContext],
    tiny_base: Path,
    tmp_path: Path,
) -> None:
    def prefers_the_smaller(request: str, first: str, second: str) -> str:
        right = references.get(request.rpartition("[user]\n")[2])
        return "A" if first == right or (second != right and first < second) else "B"

    judge = judged(prefers_the_smaller)
    told = {"endpoint": judge.endpoint, "model": "critic"}
    context = step_context(run_spec(evaluation={"metrics": ["Judge"], "max_new_tokens": 4, "judge": told}), out=tmp_path / "report")
    trained(context, tiny_base, tmp_path)
    lines = [{"row": item.row, "prompt": item.prompt, "reference": item.reference} for item in ITEMS[:5]]
    context.workspace.evaluation_items.write_text("".join(json.dumps(line) + "\n" for line in lines))
    references = {item.prompt[0]["content"]: item.reference for item in ITEMS if isinstance(item.prompt, list)}
    execute(context)
    examples = json.loads((tmp_path / "report" / "examples.json").read_text())
    wins = sum(each["tuned"].strip() < each["base"].strip() for each in examples)
    losses = sum(each["tuned"].strip() > each["base"].strip() for each in examples)
    assert wins + losses >= 1
    written = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    (metric,), found = written["summary"]["metrics"], written["summary"]["judge"]
    assert (metric["name"], found["wins"], found["losses"], found["calibrationRight"]) == ("Judge", wins, losses, 5)
    assert float(metric["delta"]) == pytest.approx((wins - losses) / 5)
    events = (tmp_path / "events.jsonl").read_text()
    assert [event["done"] for event in map(json.loads, events.splitlines()) if event["event"] == "evaluating"][-1] == 15
    texts = [text for each in examples for text in (each["reference"], each["base"], each["tuned"]) if len(text) > 3]
    for name in ("evaluation.json", "evaluation-items.jsonl"):
        assert not any(json.dumps(text)[1:-1] in (tmp_path / "report" / name).read_text() for text in texts)
    assert not any(json.dumps(text)[1:-1] in events for text in texts)
