"""What a run file holds, for a person."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._errors import InputError
from kpflow_numerics.analysis.quantities import OperatorQuantity
from kpflow_numerics.results import Estimate
from kpflow_numerics.store import RunFile, describe_run
from tests.cases.runs import CELL, TASK, make_analysis, make_checkpoint, make_report


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.h5"


def test_everything_is_told(path):
    config = {"training": {"seed": 7}}
    with RunFile.create(path, cell=CELL, task=TASK, config=config, seed=7) as file:
        file.write_evaluation_batch(TASK.evaluation_batch(6))
        file.commit(replace(make_checkpoint(0), evaluation_loss=0.75, accuracy=0.125))
        for iteration, loss in enumerate((0.5, 0.125, 0.25)):
            file.record_iteration(iteration, loss, 1.0)
        file.commit(replace(make_checkpoint(3), evaluation_loss=0.5, accuracy=1.0))
        file.write_analyses([make_analysis(0), make_analysis(3)])
        file.write_validation(make_report(passed=False))
    text = describe_run(path)
    n_parameters = CELL.n_parameters
    for piece in (
        "run.h5 (",
        f"network      {CELL!r}\n             {n_parameters} parameters in float64, readout to 2",
        "task         memory-pro, trials of 5 steps, 3 inputs, 3 outputs",
        "evaluation   6 trials",
        "training     3 iterations, training loss 0.5 at first, 0.125 at best (iteration 1)",
        "checkpoints  2, from iteration 0 to 3",
        "evaluation loss 0.75 -> 0.5",
        "accuracy 0.125 -> 1",
        "analysis     2 checkpoints; the rank of P is that of P P*",
        "validation   1 of 2 checks passed",
        "FAILED: central equation, error 1.9e+00 above 2.1e+00",
        f"kpflow_numerics {kpf.__version__}, numpy {np.__version__}",
        "seed 7",
        "configuration\n  [training]\n  seed = 7",
    ):
        assert piece in text, piece
    size = path.stat().st_size
    assert f"({size / 1024:.3g} KiB)" in text.splitlines()[0]


def test_ranks_of_the_first_and_last_analysis(path):
    with RunFile.create(path, cell=CELL, task=TASK) as file:
        file.commit(make_checkpoint(0))
        file.write_analyses([make_analysis(i) for i in (0, 3, 2000)])
    lines = describe_run(path).splitlines()
    header = next(line for line in lines if "effective rank" in line)
    assert header.split() == ["effective", "rank", "iteration", "0", "iteration", "2,000"]
    exact = next(line for line in lines if line.split()[:2] == ["K", "entropy"])
    expected = [make_analysis(i).rank("K", "entropy").value for i in (0, 2000)]
    assert exact.split()[2:] == [f"{value:.3f}" for value in expected]
    estimated = next(line for line in lines if line.split()[:1] == ["NTK"])
    value = make_analysis(2000).rank("NTK").value
    assert estimated.endswith(f"{value:.3f} +- 0.1")
    attention = next(line for line in lines if line.startswith("attention"))
    assert "P at iteration 0, P at iteration 3, P at iteration 2,000" in attention


def test_bounds_are_shown_as_an_interval(path):
    analysis = make_analysis(0)
    entry = analysis.ranks[0]
    bounds = replace(entry.estimate, value=2.0, lower=1.5, upper=2.5, method="bounds")
    with RunFile.create(path, cell=CELL, task=TASK) as file:
        file.commit(make_checkpoint(0))
        file.write_analyses([replace(analysis, ranks=(replace(entry, estimate=bounds),))])
    assert "2.000 in [1.500, 2.500]" in describe_run(path)


def test_a_run_that_has_not_begun(path):
    RunFile.create(path, cell=CELL, task=TASK).close()
    text = describe_run(path)
    assert "checkpoints  none" in text
    assert f"none yet: kpflow analyze {path}" in text
    assert f"none yet: kpflow validate {path}" in text
    assert "configuration" not in text


def test_a_network_trained_elsewhere(path):
    checkpoint = replace(
        make_checkpoint(0), readout={}, optimizer_state={}, loss=np.nan, rng_state=""
    )
    with RunFile.create(path, cell=CELL, task=TASK) as file:
        file.commit(checkpoint)
    text = describe_run(path)
    assert "no readout" in text
    assert "training     none in this file" in text
    assert "checkpoints  1, at iteration 0" in text
    assert "evaluation loss" not in text


def test_a_cell_with_code_of_its_own(path):
    cell = kpf.AutogradCell(lambda params, x, h: h * params["w"], {"w": (4,)}, 3, 4, name="mine")
    RunFile.create(path, cell=cell, task=TASK).close()
    assert "network      AutogradCell('mine', n_inputs=3, n_units=4)" in describe_run(path)


def test_no_such_file(path):
    with pytest.raises(InputError, match="There is no run file"):
        describe_run(path)


def test_quantities_of_the_first_and_last_analysis(path):
    analyses = [make_analysis(i) for i in (0, 3)]
    bounds = Estimate(2.0, 1.5, 2.5, 0.0, "bounds", 7)
    extra = (
        OperatorQuantity("trace", ("P",), bounds),
        OperatorQuantity("cosine", ("NTK", "core"), Estimate(*[np.nan] * 3, 0.0, "exact", 0)),
    )
    analyses[1] = replace(analyses[1], quantities=(*analyses[1].quantities, *extra))
    with RunFile.create(path, cell=CELL, task=TASK) as file:
        file.commit(make_checkpoint(0))
        file.write_analyses(analyses)
    lines = describe_run(path).splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("quantities"))
    assert lines[place + 2].split() == ["of", "iteration", "0", "iteration", "3"]
    rows = [line.split() for line in lines[place + 3 : place + 8]]
    alignment, dimension = ([each.quantity(name, *of).value for each in analyses]
                            for name, *of in (("alignment", "K", "NTK"),
                                              ("Kaplan-Yorke dimension",)))  # fmt: skip
    first, last = (f"{value:.4g} +- 0.1".split() for value in alignment)
    assert rows[0] == ["alignment", "K,", "NTK", *first, *last]
    first, last = (f"{value:.4g} +- 0.1".split() for value in dimension)
    assert rows[1] == ["Kaplan-Yorke", "dimension", *first, *last]
    trace = analyses[1].quantity("trace", "K").value
    assert rows[2] == ["trace", "K", f"{trace:.4g}"]
    assert rows[3] == ["trace", "P", "P*", "2", "in", "[1.5,", "2.5]"]
    assert rows[4] == ["cosine", "NTK,", "core", "nan"]


def test_the_interference_of_tasks_is_told_worst_first(path):
    analyses = [make_analysis(i) for i in (0, 1, 3)]
    with RunFile.create(path, cell=CELL, task=TASK) as file:
        file.commit(make_checkpoint(0))
        file.write_analyses(analyses)
    lines = describe_run(path).splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("interference"))
    assert "gradients of 2 tasks" in lines[place]
    assert lines[place + 2].split() == ["iteration", "0", "iteration", "3"]
    numbers = [f"{analyses[i].interference.cosines[0, 1]:.3f}" for i in (0, 2)]
    assert lines[place + 3].split() == ["pro", "and", "anti", "–", "2", *numbers]


def test_many_conditions_are_cut_short_and_those_without_direction_come_last(path):
    names = tuple(f"c{i}" for i in range(7))
    matrix = np.diag(np.r_[np.ones(6), 0.0])
    matrix[2, 4] = matrix[4, 2] = -0.5
    held = replace(
        make_analysis(0).interference, names=names, matrix=matrix, by_parameter={"w": matrix},
        contribution_cosines=matrix, accumulated_contribution_cosines=matrix,
        output_contribution_cosines=matrix, state_similarity=matrix,
    )  # fmt: skip
    with RunFile.create(path, cell=CELL, task=TASK) as file:
        file.commit(make_checkpoint(0))
        file.write_analyses([replace(make_analysis(0), interference=held)])
    text = describe_run(path)
    assert "the 10 least of 21" in text
    assert "c2 and c4  -0.500" in text
    assert "nan" not in text


def test_a_run_of_one_task_has_none(path):
    with RunFile.create(path, cell=CELL, task=TASK) as file:
        file.commit(make_checkpoint(0))
        file.write_analyses([make_analysis(1)])
    assert "interference" not in describe_run(path)
