"""A sweep's rows are what `predict` says without coefficients; filter, order, output and bad input."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimator import predict
from estimator.__main__ import main
from estimator.catalog import models
from estimator.device import catalogued_hardware
from estimator.hardware import parts
from estimator.options import SORTS, parser
from estimator.specs import Hardware, Host, ModelFile, Workload
from estimator.sweep.axes import Axes, axes_of
from estimator.sweep.grid import FITS, Rows, computed
from estimator.sweep.output import FIELDS
from estimator.sweep.rows import MOST_FIRST, Wanted
from estimator.tensors import MIXTURES, model_file

UNKNOWN = Hardware("a machine that nobody looked at", None, None, None, None, "unknown")
NO_COMPUTE = Hardware("bandwidth only", 2**34, 2**33, 25e9, None, "stated")
CPU = Hardware("both rates", 2**36, 2**35, 25e9, 2e11, "stated")

files = st.builds(model_file, st.sampled_from(models()), st.sampled_from(list(MIXTURES)))
works = st.builds(
    Workload,
    st.integers(1, 3000),
    st.integers(1, 900),
    st.integers(0, 5000),
    st.integers(1, 40),
    st.none() | st.integers(9000, 131072),
    flash_attention=st.booleans(),
    kv_type=st.sampled_from(["F16", "Q8_0", "Q4_0"]),
)
hosts = st.none() | st.builds(Host, st.none() | st.integers(2**28, 2**36), st.none(), st.just("stated"))
machines = st.sampled_from([UNKNOWN, NO_COMPUTE, CPU]) | st.builds(
    lambda part, devices, host: (
        replace(catalogued_hardware(part, devices), host=host) if part.kind == "gpu" else catalogued_hardware(part)
    ),
    st.sampled_from(parts()),
    st.integers(1, 8),
    hosts,
)


def all_rows(axes: Axes) -> Rows:
    return np.concatenate(list(computed(axes)))


def number(value: float | None) -> float:
    return math.nan if value is None else value


@settings(max_examples=60)
@given(
    st.lists(files, min_size=1, max_size=6).map(tuple),
    st.lists(works, min_size=1, max_size=5).map(tuple),
    st.lists(machines, min_size=1, max_size=6).map(tuple),
)
def test_every_row_is_what_predict_says(
    files: tuple[ModelFile, ...], works: tuple[Workload, ...], machines: tuple[Hardware, ...]
) -> None:
    # All catalogue contexts are lifted, so that no row is left out.
    files = tuple(replace(file, model=replace(file.model, context_tokens=10**9)) for file in files)
    axes = Axes(files, works, machines)
    rows = all_rows(axes)
    assert len(rows) == len(files) * len(works) * len(machines)
    wanted = Wanted(axes)
    for at in range(0, len(rows), max(1, len(rows) // 12)):
        row = rows[at : at + 1]
        file, work, machine = (int(row[name][0]) for name in ("file", "work", "hardware"))
        answer = predict(files[file], works[work], machines[machine])
        assert FITS[int(row["fits"][0])] == answer.fit.fits
        assert row["needed_bytes"][0] == answer.fit.needed_bytes
        for name in ("ttft_s", "time_per_token_s", "end_to_end_s", "decode_tokens_per_s"):
            expected = pytest.approx(number(answer.speed[name].value), rel=1e-12, nan_ok=True)
            assert wanted.quantity(row, name)[0] == expected, name
        assert row["margin_bytes"][0] == pytest.approx(number(answer.fit.margin_bytes), nan_ok=True)


def test_files_that_are_computed_together_have_the_rows_that_each_has_alone() -> None:
    # Every catalogue model beside all others: stacks of every kind, in blocks that hold works which some cannot.
    machines = ("--hardware", "EPYC 7763,M3 Max,RTX 4090,3x RTX 3090", "--instance", "g5.12xlarge")
    sizes = ("--prompt-tokens", "100,7000,40000", "--concurrency", "1,7", "--kv-type", "all")
    axes = axes_named("--model", "all", "--quant", "q4_0,f16", *sizes, *machines)
    together = all_rows(axes)
    apart = [rows for file in axes.files for rows in computed(replace(axes, files=(file,)))]
    assert [rows["file"].any() for rows in apart] == [False] * len(axes.files)
    alone = np.concatenate(apart)
    assert len(together) == len(alone) == sum(len(axes.works_of(file)) for file in axes.files) * len(axes.hardware)
    for name in ("work", "hardware", "fits", "needed_bytes", "margin_bytes"):
        np.testing.assert_array_equal(together[name], alone[name], err_msg=name)
    for name in ("ttft_s", "time_per_token_s"):
        np.testing.assert_allclose(together[name], alone[name], rtol=1e-12)


def axes_named(*words: str) -> Axes:
    return axes_of(parser().parse_args(["sweep", *words]))


SMALL = axes_named(
    *("--model", "mistral:7b,llama3.1:70b", "--quant", "q4_k_m,f16", "--prompt-tokens", "100,5000"),
    *("--concurrency", "1,8", "--hardware", "RTX 4090,2x RTX 3090,M3 Max,EPYC 7763"),
)


def test_works_beyond_a_models_context_are_left_out_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--model", "tinyllama:1.1b,mistral:7b", "--prompt-tokens", "100,3000", "--hardware", "T4,L4", "--json"]
    assert main(["sweep", *asked]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["computed"] == len(found["rows"]) == 6
    assert found["left_out"] == {"context_too_short_for_request": 0, "context_beyond_model": 2}
    assert {row["prompt_tokens"] for row in found["rows"] if row["model"] == "tinyllama:1.1b"} == {100}


@pytest.mark.parametrize("sort", SORTS)
def test_the_best_rows_are_those_of_all_rows_sorted(sort: str) -> None:
    everything = np.concatenate(list(Wanted(SMALL, sort=sort).taken(computed(SMALL))))
    best = np.concatenate(list(Wanted(SMALL, sort=sort, top=7).taken(computed(SMALL))))
    values = Wanted(SMALL).quantity(everything, sort)
    falling = np.diff(values) <= 0 if sort in MOST_FIRST else np.diff(values) >= 0
    assert falling[~np.isnan(values[1:])].all()
    assert len(everything) == 64
    assert str(best.tolist()) == str(everything[:7].tolist())


def test_rows_whose_quantity_is_unknown_come_last() -> None:
    axes = replace(SMALL, hardware=(UNKNOWN, CPU))
    rows = np.concatenate(list(Wanted(axes, sort="ttft_s", top=20).taken(computed(axes))))
    assert rows["hardware"].tolist() == [1] * 16 + [0] * 4


def test_only_what_fits_is_kept_and_both_are_counted() -> None:
    wanted = Wanted(SMALL, only_fitting=True)
    rows = np.concatenate(list(wanted.taken(computed(SMALL))))
    every = all_rows(SMALL)
    assert {FITS[code] for code in rows["fits"]} == {"yes"}
    assert (wanted.computed, wanted.matching) == (64, len(rows))
    assert 0 < len(rows) == int((every["fits"] == FITS.index("yes")).sum()) < 64


def test_csv_holds_every_row_and_an_empty_field_where_unknown(tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    assert main(["sweep", "--quant", "all", "--hardware", "T4,L4", "--csv", str(path)]) == 0
    rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
    assert len(rows) == 2 * (len(MIXTURES) - 1), "a dense model in MXFP4_MOE would be its Q8_0 again"
    assert tuple(rows[0]) == FIELDS
    assert float(rows[0]["ttft_s"]) > 0
    assert list(tmp_path.iterdir()) == [path]


def test_the_table_is_80_columns_wide_and_says_what_it_stands_on(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--model", "all", "--quant", "all", "--concurrency", "1,16", "--kv-type", "all", "--hardware", "all"]
    assert main(["sweep", *asked, "--fits", "--sort", "throughput_tokens_per_s"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("20 shown" in line for line in lines[-5:])
    assert lines[-1].startswith("theory only")


def test_a_sweep_of_nothing_that_fits_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--model", "deepseek-r1:671b", "--hardware", "T4", "--fits"]) == 0
    assert "no scenario left" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["--model", "mistral:7b,nope"], 3, "unknown model 'nope'"),
        (["--model", ","], 2, "--model is empty"),
        (["--quant", "q9"], 3, "unknown weight type 'q9'"),
        (["--hardware", "T4,Z80"], 3, "unknown hardware 'Z80'"),
        (["--instance", "x9.huge"], 3, "x9.huge"),
        (["--prompt-tokens", "12,many"], 2, "--prompt-tokens '12,many': write whole numbers from 1 on"),
        (["--prompt-tokens", "-5"], 2, "--prompt-tokens '-5'"),
        (["--concurrency", "70000"], 2, "--concurrency '70000': write whole numbers from 1 on to 65,536"),
        (["--concurrency", "0"], 2, "--concurrency '0'"),
        (["--depth", "99999999999"], 2, "--depth '99999999999'"),
        (["--kv-type", "q5"], 3, "no KV cache of type 'Q5'"),
        (["--context", "100"], 2, "--context 100 holds no request"),
        (["--top", "0"], 2, "--top 0: ask for at least one row"),
        (["--sort", "beauty"], 2, "invalid choice: 'beauty'"),
        (["--json", "--csv", "x"], 2, "--json and --csv at once"),
        (["--csv", "."], 2, "cannot write .: it is a folder"),
        (["--csv", "/"], 2, "cannot write /: it is a folder"),
        (["--csv", ""], 2, "cannot write"),
        (["--hardware", ","], 2, "--hardware is empty"),
        (["--instance", ""], 2, "--instance is empty"),
        (["--quant", ","], 2, "--quant is empty"),
        (["--context", ""], 2, "--context ''"),
        (["--bandwidth", "1e400GB/s"], 2, "cannot read the rate"),
        (["--csv", "/nowhere/at/all.csv"], 2, "cannot write /nowhere/at/all.csv"),
        (["--hardware", "T4", "--bandwidth", "1GB/s"], 2, "--bandwidth and --compute are this machine's"),
        (["--prompt-tokens", ",".join(map(str, range(1, 9000))), "--hardware", "all", "--model", "all",
          "--quant", "all"], 2, "shorten a list"),
        (["--hardware", "all", "--model", "all", "--quant", "all", "--kv-type", "all", "--concurrency", "1,2,3",
          "--json"], 2, "rows of JSON are too many"),
    ],
)  # fmt: skip
def test_bad_input_gives_one_line(words: list[str], status: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", *words]) == status
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    assert line in told.err
