"""Options: names, defaults, and refusals that name the option."""

import json
import logging
from pathlib import Path

import pytest
from pydantic_settings import CliApp

from finetune_operator.runtime import main as entry
from finetune_operator.runtime.installation import domain_settings
from finetune_operator.runtime.logging import JsonFormatter, TextFormatter
from finetune_operator.runtime.preflight import PreflightFailed
from finetune_operator.runtime.serving import serving_settings
from finetune_operator.runtime.settings import Settings

IMAGE = ("--trainer-image", "registry.invalid/trainer:1")


def parse(*arguments: str) -> Settings:
    return CliApp.run(Settings, cli_args=[*IMAGE, *arguments])


def test_options_are_in_kebab_case_and_repeatable() -> None:
    settings = parse(
        *("--namespace", "a", "--namespace", "b", "--image-pull-secret", "one", "--image-pull-secret", "two"),
        *("--no-leader-elect", "--progress-via", "pod-proxy", "--log-format", "text", "--health-port", "0"),
    )
    assert settings.namespace == ["a", "b"]
    assert settings.image_pull_secret == ["one", "two"]
    assert not settings.leader_elect
    assert (settings.progress_via, settings.log_format, settings.health_port) == ("pod-proxy", "text", 0)


def test_a_plain_start_elects_a_leader_and_serves_on_the_documented_ports() -> None:
    settings = parse()
    assert settings.leader_elect
    assert (settings.health_port, settings.metrics_port) == (8080, 9090)


def test_the_environment_stands_in_for_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_OPERATOR_WORKERS", "3")
    assert parse().workers == 3
    assert parse("--workers", "5").workers == 5


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ((), "--trainer-image"),
        ((*IMAGE, "--workers", "0"), "--workers"),
        ((*IMAGE, "--log-format", "xml"), "--log-format"),
        ((*IMAGE, "--rollout-prometheus-url", "prometheus:9090"), "--rollout-prometheus-url: Value error, url: give http"),
        ((*IMAGE, "--rollout-prometheus-url", "http://p", "--rollout-prometheus-token-file", "/t"), "--rollout-prometheus-token-file"),
        ((*IMAGE, "--signing-key", "/k"), "--signing-key: Value error, needs --governance"),
        ((*IMAGE, "--checkpoint-namespace", "finetune-records"), "--checkpoint-namespace: Value error, must be another namespace"),
        ((*IMAGE, "--anchor-bucket", "records", "--anchor-bucket-endpoint", "https://s3"), "--anchor-bucket needs --signing-key"),
        ((*IMAGE, "--anchor-bucket", "records"), "--anchor-bucket: the endpoint is http"),
        ((*IMAGE, "--anchor-bucket-mode", "FOREVER"), "--anchor-bucket-mode"),
        ((*IMAGE, "--rollout-prometheus-ca-file", "/c"), "--rollout-prometheus-ca-file: Value error, needs --rollout-prometheus-url"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_starts(arguments: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(arguments) == 2
    assert option in capsys.readouterr().err


def test_a_progress_key_that_is_too_short_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("short")
    with pytest.raises(PreflightFailed, match="32 random bytes"):
        domain_settings(parse("--progress-key-file", str(key)))


def test_a_missing_progress_key_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(PreflightFailed, match="absent"):
        domain_settings(parse("--progress-key-file", str(tmp_path / "absent")))


def record(**extra: object) -> logging.LogRecord:
    made = logging.LogRecord("finetune_operator.x", logging.INFO, __file__, 1, "%s is ready", ("ns/a",), None)
    made.__dict__.update(extra)
    return made


def test_a_json_line_holds_message_level_time_and_what_was_added() -> None:
    line = json.loads(JsonFormatter().format(record(key="ns/a", generation=3)))
    assert (line["message"], line["level"], line["key"], line["generation"]) == ("ns/a is ready", "info", "ns/a", 3)
    assert line["time"].endswith("Z")


def test_a_text_line_shows_the_same() -> None:
    assert TextFormatter().format(record(key="ns/a")).endswith("INFO    ns/a is ready  [key=ns/a]")


def test_a_defect_shows_its_traceback_in_either_form() -> None:
    try:
        int("oops")
    except ValueError as error:
        made = record()
        made.exc_info = (type(error), error, error.__traceback__)
    assert "invalid literal for int() with base 10: 'oops'" in json.loads(JsonFormatter().format(made))["exception"]
    assert "invalid literal for int() with base 10: 'oops'" in TextFormatter().format(made)


def test_peers_of_network_policies_are_a_json_list_and_reach_what_is_made() -> None:
    peers = '[{"podSelector": {"matchLabels": {"a": "b,c"}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]'
    addresses = ("--serving-api-server-port", "8443", "--serving-api-server-cidr", "10.0.0.1/32")
    made = serving_settings(parse("--inference-image", "i", "--serving-clients-from", peers, "--serving-metrics-from", peers, *addresses))
    assert made is not None
    assert made.clients_from == made.metrics_from == tuple(json.loads(peers))
    assert (made.api_server_ports, made.api_server_cidrs) == ((8443,), ("10.0.0.1/32",))
    plain = serving_settings(parse("--inference-image", "i"))
    assert plain is not None
    assert (plain.clients_from, plain.metrics_from, plain.api_server_ports, plain.api_server_cidrs) == ((), (), (443, 6443), ())


@pytest.mark.parametrize(
    ("option", "text"),
    [
        *[("--serving-metrics-from", text) for text in ("monitoring", "{}", '["a"]', "[{}]", '[{"podselector": {}}]')],
        ("--serving-api-server-port", "0"),
        ("--serving-api-server-cidr", "10.0.0.1/33"),
    ],
)
def test_a_peer_that_is_none_is_refused_by_its_option(option: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main([*IMAGE, option, text]) == 2
    assert option in capsys.readouterr().err
