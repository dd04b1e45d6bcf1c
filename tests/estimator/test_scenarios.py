"""A scenario file: its limits against the answer, exit status, and everything that can be wrong with it."""

import json
from pathlib import Path

import pytest

from estimator.__main__ import main
from estimator.coefficients import FittedMachine, write_coefficients
from estimator.machine import identity
from estimator.scenarios.file import read_scenarios
from tests.estimator.examples import coefficients

TEAM = """
[defaults]
model = "mistral:7b"
prompt_tokens = 1000
output_tokens = 300
hardware = "RTX 4090"

[[scenario]]
name = "chat"
fits = "yes"
max.ttft_s = 2
min.decode_tokens_per_s = 20

[[scenario]]
name = "ten at once"
instance = "g6.xlarge"
concurrency = 10
max.rented_per_month_usd = 600
"""


@pytest.fixture
def team(tmp_path: Path) -> Path:
    path = tmp_path / "team.toml"
    path.write_text(TEAM, "utf-8")
    return path


def findings(path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, list[dict[str, object]]]:
    status = main(["scenarios", "check", str(path), "--json", *more])
    return status, json.loads(capsys.readouterr().out)["findings"]


def test_limits_that_are_kept_give_status_0(team: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = findings(team, capsys)
    assert status == 0
    assert [(one["limit"], one["outcome"], one["proven"]) for one in found] == [
        ("fits", "met", True),
        ("max ttft_s", "met", True),
        ("min decode_tokens_per_s", "met", True),
        ("max rented_per_month_usd", "met", True),
    ]


def test_a_scenario_that_names_its_machine_leaves_the_one_of_the_defaults(team: Path) -> None:
    with team.open("a", encoding="utf-8") as file:
        file.write('[[scenario]]\nname = "here"\ngpus = "0,1"\nfits = "yes"\n')
    named = [{word.partition("=")[0] for word in one.arguments} for one in read_scenarios(team)]
    machines = [words & {"--hardware", "--instance", "--gpus"} for words in named]
    assert machines == [{"--hardware"}, {"--instance"}, {"--gpus"}]


def test_a_limit_that_is_broken_gives_status_1(team: Path, capsys: pytest.CaptureFixture[str]) -> None:
    team.write_text(TEAM.replace("decode_tokens_per_s = 20", "decode_tokens_per_s = 2000"), "utf-8")
    assert main(["scenarios", "check", str(team)]) == 1
    text = capsys.readouterr().out
    assert "min decode_tokens_per_s 2,000.0" in text
    assert "not met" in text
    assert "3 of 4 limits met" in text
    assert max(map(len, text.splitlines())) <= 80


def test_what_does_not_fit_gives_status_1(team: Path, capsys: pytest.CaptureFixture[str]) -> None:
    team.write_text(TEAM.replace('"mistral:7b"', '"llama3.1:70b"', 1), "utf-8")
    status, found = findings(team, capsys)
    assert status == 1
    assert found[0]["predicted"] == "no"


def test_what_theory_alone_meets_is_not_met_when_strict(team: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two GPUs nothing was published that the reference could stand on."""
    team.write_text(TEAM.replace('"RTX 4090"', '"2x RTX 4090"'), "utf-8")
    assert findings(team, capsys, "--strict")[0] == 1
    main(["scenarios", "check", str(team), "--strict"])
    assert "2 met by theory only" in " ".join(capsys.readouterr().out.split())


def test_what_nobody_knows_is_not_met(team: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    team.write_text('[[scenario]]\nname = "here"\nhardware = "Apple M9"\nmax.ttft_s = 2\n', "utf-8")
    assert main(["scenarios", "check", str(team)]) == 3
    team.write_text('[[scenario]]\nname = "board"\nhardware = "Raspberry Pi 5"\nmax.ttft_s = 2\n', "utf-8")
    capsys.readouterr()
    status, found = findings(team, capsys)
    assert (status, found[0]["outcome"], found[0]["predicted"]) == (1, "unknown", None)


def test_the_end_of_the_interval_that_is_worse_is_judged(
    team: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = FittedMachine(*identity(), 10e9, 100e9)
    write_coefficients(tmp_path / "results" / "coefficients.json", coefficients(machine=here))
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "--json"]) == 0
    step = json.loads(capsys.readouterr().out)["speed"]["time_per_token_s"]
    assert step["low"] < step["value"] < step["high"]
    between = (step["value"] + step["high"]) / 2
    team.write_text(f'[[scenario]]\nname = "here"\nmax.time_per_token_s = {between!r}\n', "utf-8")
    status, found = findings(team, capsys)
    assert (status, found[0]["predicted"]) == (1, step["high"])
    rate = 1 / between
    team.write_text(f'[[scenario]]\nname = "here"\nmin.decode_tokens_per_s = {rate!r}\n', "utf-8")
    assert findings(team, capsys)[0] == 1


@pytest.mark.parametrize(
    ("text", "status", "line"),
    [
        ("", 4, "holds no [[scenario]]"),
        ("x = [", 4, "is not TOML"),
        ("a = " + "[" * 5000 + "]" * 5000, 4, "is not TOML"),
        ("other = 1", 4, "unknown key 'other'"),
        ("scenario = 3", 4, "holds no [[scenario]]"),
        ("[[scenario]]\nmax.ttft_s = 1", 4, "scenario 1 has no name"),
        ('[[scenario]]\nname = "a"', 4, "scenario 1 (a) has no limit"),
        ('[[scenario]]\nname = "a"\nfits = "no"', 4, "fits is one of tight, yes"),
        ('[[scenario]]\nname = "a"\nmax = 2', 4, "max is a table"),
        ('[[scenario]]\nname = "a"\nmax.ttft_s = "2s"', 4, "max.ttft_s must be a number"),
        ('[[scenario]]\nname = "a"\nmax.ttft_s = nan', 4, "max.ttft_s must be a number"),
        ('[[scenario]]\nname = "a"\nmax.tfft_s = 2', 4, "the answer has no 'tfft_s'; did you mean ttft_s"),
        ('[[scenario]]\nname = "a"\nmax.rented_usd = 2', 4, "costs need a price"),
        ('[[scenario]]\nname = "a"\nfits = "yes"\nmodle = "x"', 2, "scenario 'a': unrecognized arguments: --modle=x"),
        ('[[scenario]]\nname = "a"\nfits = "yes"\nmodel = ["x"]', 4, "model must be a text or a number"),
        ('[[scenario]]\nname = "a"\nfits = "yes"\nmodel = "nope"', 3, "scenario 'a': unknown model 'nope'"),
        (
            '[[scenario]]\nname = "a"\nmax.ttft_s = 2\napi = "gpt-4-turbo"',
            2,
            "scenario 'a': a model behind an API has no",
        ),
        ('[[scenario]]\nname = "a"\nmax.ttft_s = 2\nprice_in = 3', 2, "--price-in is of models behind an API"),
        ('[[scenario]]\nname = "a"\nfits = "yes"\n[[scenario]]\nname = "a"\nfits = "yes"', 4, "two scenarios"),
    ],
)
def test_a_bad_file_gives_one_line(
    text: str, status: int, line: str, team: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    team.write_text(text, "utf-8")
    assert main(["scenarios", "check", str(team)]) == status
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    assert line in told.err


def test_a_file_that_is_not_there_gives_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios", "check", str(tmp_path / "none.toml")]) == 4
    assert "No such file or directory; name a scenario file" in capsys.readouterr().err
