"""`fit` and `models` as people use them: whole processes, their output, their exit status."""

import json
from pathlib import Path

import pytest

from tests.estimator.test_command import run


def test_fit_says_yes_with_the_margin_in_bytes(tmp_path: Path) -> None:
    done = run(tmp_path, "fit", "--model", "qwen2.5:0.5b", "--hardware", "RTX 3060 12GB")
    assert (done.returncode, done.stderr) == (0, "")
    assert "fits: yes;" in done.stdout
    assert " bytes)" in done.stdout
    assert "largest context: 32,768, all the model has" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_fit_prints_the_same_as_json(tmp_path: Path) -> None:
    options = ("--model", "llama3.1:70b", "--hardware", "2x RTX 3090", "--host-memory", "64GiB", "--context", "100000")
    answer = json.loads(run(tmp_path, "fit", *options, "--json").stdout)
    assert answer["answer"] == "yes with settings"
    assert answer["verdict"]["margin_bytes"] < 0
    assert {name for setting in answer["settings"] for name in setting["changed"]} >= {"context", "gpu_layers"}
    assert all(setting["verdict"]["margin_bytes"] >= 0 for setting in answer["settings"])
    assert answer["largest"]["context_tokens"]["Q8_0"] > answer["largest"]["context_tokens"]["F16"]


def test_models_are_ranked_by_what_runs(tmp_path: Path) -> None:
    options = ("--min-speed", "30", "--hardware", "RTX 3060 12GB", "--quant", "q8_0", "--rank", "speed", "--json")
    rows = json.loads(run(tmp_path, "models", *options).stdout)
    speeds = [row["decode_tokens_per_s"]["value"] for row in rows]
    assert speeds == sorted(speeds, reverse=True)
    assert min(speeds) >= 30


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("models", "--hardware", "RTX 3090"), "--min-speed"),
        (("models", "--rank", "speed"), "--rank is of what runs on a machine at a speed: add --min-speed"),
        (("models", "--api", "--min-speed", "5"), "--min-speed is of models of your own: leave out --api"),
        (("models", "--min-speed", "5", "--hardware", "T4", "--context", "0"), "cannot hold"),
        (("models", "--min-speed", "inf", "--hardware", "T4"), "at least 0"),
        (("predict", "--hardware", "M1", "--link", "5GB/s"), "go with a GPU: Apple M1 (7-core GPU) has one"),
        (("predict", "--hardware", "EPYC 7763", "--host-memory", "5GiB"), "go with a GPU"),
        (("models", "--min-speed", "3"), "--bandwidth"),
        (("fit", "--gpu-layers", "3"), "GPU with memory of its own"),
        (("fit", "--host-memory", "64GiB"), "go with a GPU"),
        (("fit", "--concurrency", "0"), "at least 1"),
        (("fit", "--context", "0"), "cannot hold"),
        (("fit", "--hardware", "RTX 3090", "--host-memory", "much"), "cannot read the size"),
    ],
)
def test_questions_about_fits_that_make_no_sense_get_one_line(
    tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
