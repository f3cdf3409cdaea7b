"""``finetune verify`` as people run it: what it asks for, what it answers, and how long it takes."""

import json
import time
from pathlib import Path

import pytest

from finetune_cli.main import main
from finetune_record import envelope, keys
from tests.unit.record import examples
from tests.unit.record.published import Place, items_of, publish, write_list


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return publish(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Its record holds no digests of the documents."""
    return publish(tmp_path_factory.mktemp("unsigned"), signs=False)


def test_a_folder_that_holds_both_folders_will_do(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(place.root), "--key", str(place.key)]) == 0
    assert "Not checked chain: none was given" in capsys.readouterr().out


def test_a_chain_may_be_a_folder_and_anchors_a_log(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = tmp_path / "entries"
    entries.mkdir()
    for item in items_of(place.chain):
        (entries / f"{item['metadata']['name']}.json").write_text(item["data"]["record.dsse.json"])
    arguments = ["verify", str(place.adapter), "--key", str(place.key), "--chain", str(entries)]
    log = tmp_path / "operator.log"
    log.write_text(logged(place))
    assert main([*arguments, "--anchor", str(log)]) == 0
    assert "6 anchored heads" in capsys.readouterr().out
    log.write_text(logged(place) + json.dumps({"message": f"record 7 of namespace clinic is {examples.digest('7')}"}) + "\n")
    assert main([*arguments, "--anchor", str(log)]) == 1
    assert "operator.log:9: record 7 existed, and the chain ends at 6: its end was removed" in capsys.readouterr().out
    log.write_text("started\n")
    assert main([*arguments, "--anchor", str(log)]) == 1
    assert "operator.log is not JSON" in capsys.readouterr().out


def logged(place: Place) -> str:
    """The operator's log of this chain, in both of its forms, among other lines."""
    told = []
    for item in items_of(place.chain):
        payload = envelope.Envelope.read(item["data"]["record.dsse.json"].encode()).content
        told.append(f"record {int(item['metadata']['name'][-8:])} of namespace clinic is {examples.digest_of(payload)}")
    lines = ["12:00:00 INFO    started", *(f"12:00:01 INFO    {line}  [seq=1]" for line in told[:3])]
    lines += ['{"level": "info", "message": "other"}', *(json.dumps({"level": "info", "message": line}) for line in told[3:])]
    return "\n".join(lines) + "\n"


def test_what_an_anchor_does_not_reach_is_told(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = items_of(place.anchors)[0]
    write_list(tmp_path / "anchors.json", "checkpoint.dsse.json", [("one", first["data"]["checkpoint.dsse.json"])])
    arguments = [
        "verify",
        str(place.adapter),
        "--key",
        str(place.key),
        "--chain",
        str(place.chain),
        "--anchor",
        str(tmp_path / "anchors.json"),
    ]
    assert main(arguments) == 0
    assert "vouches for record 4; for the 2 after it" in " ".join(capsys.readouterr().out.split())


def test_documents_that_nobody_signed_are_named_and_compared(unsigned: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(unsigned.arguments()) == 0
    assert "README.md, data-report.json, promotable, record.json, run.json: the signed record holds no digest" in " ".join(
        capsys.readouterr().out.split()
    )
    for name, old, new, said in (
        ("run.json", "SFT", "DPO", "predicate.identity.specDigest"),
        ("promotable", "true", "false", "predicate.outputs.promotable"),
        ("record.json", "0.71", "0.17", "predicate.run.loss"),
        ("record.json", "discharge-letters", "letters", "predicate.identity.job"),
    ):
        path = unsigned.meta / name
        whole = path.read_text()
        path.write_text(whole.replace(old, new))
        assert main(unsigned.arguments()) == 1
        assert said in " ".join(capsys.readouterr().out.split())
        path.write_text(whole)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"FOLDER": "nowhere"}, "FOLDER"),
        ({"--key": "nowhere"}, "--key"),
        ({"--chain": "nowhere"}, "--chain"),
        ({"--anchor": "nowhere"}, "--anchor"),
    ],
)
def test_what_cannot_be_asked_is_a_mistake(place: Place, change: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"FOLDER": str(place.adapter), "--key": str(place.key), "--chain": str(place.chain), "--anchor": str(place.anchors)} | change
    folder = given.pop("FOLDER")
    assert main(["verify", folder, *(text for option in given.items() for text in option)]) == 2
    assert said in capsys.readouterr().err


def test_a_private_key_is_no_public_one_and_is_not_printed(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG\n-----END PRIVATE KEY-----\n")
    assert main(["verify", str(place.adapter), "--key", str(tmp_path / "key.pem")]) == 2
    assert "MIGH" not in capsys.readouterr().err


def test_an_anchor_without_a_chain_is_a_mistake(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(place.adapter), "--key", str(place.key), "--anchor", str(place.anchors)]) == 2
    assert "--chain" in capsys.readouterr().err


def test_keys_change_and_old_records_still_verify(place: Place, tmp_path: Path) -> None:
    newer = tmp_path / "newer.pem"
    newer.write_bytes(keys.public_pem(examples.OTHER_KEY.public_key()))
    assert main(["verify", str(place.adapter), "--key", str(newer)]) == 1
    assert main(["verify", str(place.adapter), "--key", str(newer), "--key", str(place.key)]) == 0


def test_texts_of_strangers_reach_no_terminal_as_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = publish(tmp_path, justification="\x1b[2Jwiped")
    assert main(place.arguments()) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "[2Jwiped" in told


def test_a_thousand_records_take_ten_times_as_long_as_a_hundred(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Time grows with the number of records and no faster; the figure for an idle core is in docs/governance/record.md."""
    small, large = publish(tmp_path / "small", before=50, after=49), publish(tmp_path / "large", before=500, after=499)
    seconds = {}
    for place in (small, small, large):  # the first warms up
        begin = time.process_time()
        assert main(place.arguments("--output", "json")) == 0
        seconds[place.root] = min(seconds.get(place.root, 1e9), time.process_time() - begin)
    assert '"chain of 1,000 records"' in capsys.readouterr().out
    assert seconds[large.root] < 20 * seconds[small.root]
