"""``kpflow import``: a network of PyTorch's as a run file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.cli import main

DATA = Path(__file__).parent / "data" / "torch"


def kpflow(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    code: int = ended.value.code
    return code


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_of_torch_save_becomes_a_run_file(
    here: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shared_data / "pytorch" / "gru_memory_pro_64.pt"
    output = str(here / "runs" / "made.h5")
    assert kpflow("import", str(source), "--task", "memory-pro", "--output", output) == 0
    shown = capsys.readouterr()
    assert output in shown.out
    assert "GRU(n_inputs=3, n_units=64, bias=True)" in shown.err
    wanted = kpf.load_network(source)
    with kpf.RunFile.open(output) as file:
        assert file.cell == wanted.cell
        assert file.task.name == "memory-pro"
        assert file.config["source"] == {"file": str(source)}
        network = file.checkpoint(-1)
        for name, array in wanted.params.items():
            np.testing.assert_array_equal(network.params[name], array)
    assert kpflow("import", str(source), "--task", "memory-pro", "--output", output) == 2
    assert "exists" in capsys.readouterr().err
    assert kpflow("import", output, "--task", "memory-pro") == 2
    assert "is a run file already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([str(DATA / "gru.pt")], "name the task it was trained on"),
        ([str(DATA / "gru.pt"), "--task", "memory-pro"], "takes 2 inputs"),
        ([str(DATA / "whole_module.pt"), "--task", "memory-pro"], "was not read"),
        ([str(DATA / "two.pt"), "--task", "memory-pro"], "--prefix on the command line"),
        (["absent.pt", "--task", "memory-pro"], "no file absent.pt"),
    ],
)
def test_what_cannot_be_imported_leaves_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert kpflow("import", *arguments) == 2
    assert message in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_a_readout_without_bias_stays_without_one(here: Path) -> None:
    generator = np.random.default_rng(23)
    arrays = {f"rnn.{name}_l0": array for name, array in kpf.GRU(3, 5).init_params(rng=5).items()}
    np.savez("net.npz", **arrays, **{"fc.weight": generator.standard_normal((3, 5))})
    assert kpflow("import", "net.npz", "--task", "memory-pro", "--output", "net.h5") == 0
    assert kpflow("validate", "net.h5") == 0
    (found,) = kpf.analyze("net.h5", n_trials=3, quantities=("output-kernel",), n_eigenpairs=2)
    with kpf.RunFile.open("net.h5") as file:
        readout, batch = file.checkpoint(-1).readout, file.evaluation_batch
        trajectory = kpf.simulate(file.cell, file.checkpoint(-1).params, batch.inputs)
    assert list(readout) == ["weight"]
    kernel = kpf.OutputKernel(kpf.linearize(trajectory), readout, parameters="all")
    traces = {each.operators: each.estimate.value for each in found.quantities
              if each.name == "trace"}  # fmt: skip
    assert traces[("output NTK, all parameters",)] == pytest.approx(kernel.exact_trace())
