"""Tasks by name, as the command line and files ask for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kpflow_numerics import tasks
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.tasks import TASKS, FlipFlop, MemoryPro, Task, task_from_config


def test_every_public_task_is_registered_under_its_name():
    classes = {
        value
        for value in (getattr(tasks, name) for name in tasks.__all__)
        if isinstance(value, type) and issubclass(value, Task) and value is not Task
    }
    assert set(TASKS.values()) == classes
    assert all(task.name == name for name, task in TASKS.items())
    assert all(getattr(tasks, name) is not None for name in tasks.__all__)


def test_the_registry_cannot_be_changed():
    with pytest.raises(TypeError, match="does not support item assignment"):
        TASKS["mine"] = MemoryPro


@pytest.mark.parametrize("name", TASKS)
def test_no_options_means_the_defaults(name):
    assert task_from_config(name) == task_from_config(name, {}) == TASKS[name]()


def test_options_reach_the_task():
    task = task_from_config("flip-flop", {"n_bits": 5, "noise_std": 1})
    assert task == FlipFlop(n_bits=5, noise_std=1.0)


def test_an_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(InputError, match=r"task must be one of 'memory-pro', .* got 'memory_pr0'"):
        task_from_config("memory_pr0")
    with pytest.raises(InputError, match=r"Did you mean 'flip-flop'\?"):
        task_from_config("flipflop")
    with pytest.raises(InputError, match=r"task must be one of .* got 3"):
        task_from_config(3)


def test_an_unknown_option_is_refused_with_a_suggestion():
    message = (
        r"task 'memory-pro' has no option 'n_stimuls'; it takes noise_std, n_stimulus, n_memory, "
        r"n_response\. Did you mean 'n_stimulus'\?"
    )
    with pytest.raises(InputError, match=message):
        task_from_config("memory-pro", {"n_stimuls": 3})
    with pytest.raises(InputError, match="task 'memory-pro' has no option 7; it takes"):
        task_from_config("memory-pro", {7: 3})


def test_options_that_are_no_mapping_are_refused():
    with pytest.raises(InputTypeError, match=r"options of task 'memory-pro' must map .* got list"):
        task_from_config("memory-pro", [("n_stimulus", 3)])


def test_values_are_checked():
    with pytest.raises(InputError, match="n_bits must be at least 1; got 0"):
        task_from_config("flip-flop", {"n_bits": 0})


def test_tasks_load_nothing_heavy():
    heavy = ("numba", "scipy", "h5py", "matplotlib", "tqdm", "autograd")
    code = (
        "import sys, kpflow_numerics.tasks as t; t.MemoryPro().sample(2); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_base_class_cannot_be_made():
    with pytest.raises(TypeError, match="abstract class Task"):
        Task()
