"""
Interference of four tasks
==========================

One network learns Memory-Pro, Memory-Anti, Delay-Pro and Delay-Anti, each announced by a cue. At
every checkpoint the tangent kernel tells exactly what a step on one task does to the others, and
the cosines of the states tell how alike the network treats them.

Pairs with the same response (both Pro, or both Anti) are set against pairs with the same delay:
which are alike in the kernel, which in the states, and from when on. What each task has done to the
states is added up for plain gradient descent and for the scales of Adam, which trains the network.
Lines are means over seeds, bands their range. The matrix on the right has the cosines of the tasks'
gradients at the end of training, a negative one being interference.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

SIZES = {
    "small": {"units": 12, "steps": 3, "every": (10, 2), "n_trials": 8, "seeds": (3,)},
    "full": {"units": 48, "steps": 10, "every": (40, 25), "n_trials": 32, "seeds": range(3, 8)},
}
GAP = 0.1  # by which pairs must differ to be called told apart
PAIRS = {"same response": ((0, 2), (1, 3)), "same delay": ((0, 1), (2, 3))}
QUANTITIES = "gradients", "contributions, accumulated", "states", "accumulated, Adam's scales"


def matrices(run, batch, optimizer):
    """Return iterations, losses, the cosines of each kind at each checkpoint, the last result."""
    found, scaled, states = [], [], []
    for checkpoint in run.checkpoints:
        trajectory = kpf.simulate(run.cell, checkpoint.params, batch.inputs)
        error = kpf.state_error(trajectory, checkpoint.readout, batch)
        lin = kpf.linearize(trajectory)
        found.append(kpf.interference(lin, error, batch.task_ids, names=batch.task_names))
        if checkpoint.iteration:  # Before its first step Adam has no scales.
            M = kpf.adam_preconditioner(optimizer, checkpoint.optimizer_state)
            scaled.append(kpf.interference(lin, error, batch.task_ids, preconditioner=M))
        states.append(kpf.task_similarity(trajectory.states, batch.task_ids))
    times = [checkpoint.iteration for checkpoint in run.checkpoints]
    contributions = kpf.accumulated_contribution_cosines(found, times=times)
    of_adam = np.full_like(contributions, np.nan)
    of_adam[1:] = kpf.accumulated_contribution_cosines(scaled, times=times[1:])
    cosines = ([each.cosines for each in found], contributions, states, of_adam)
    losses = [checkpoint.evaluation_loss for checkpoint in run.checkpoints]
    return times, losses, dict(zip(QUANTITIES, map(np.array, cosines), strict=True)), found[-1]


def main(scale="small", *, kind="gru", learning_rate=3e-3, **sizes):
    """Train, compare the tasks, print and draw; returns each course from the second checkpoint."""
    size = SIZES[scale] | sizes
    steps = size["steps"]
    task = kpf.MultiTask(n_context=steps, n_stimulus=steps, n_memory=steps, n_response=steps)
    batch = task.evaluation_batch(size["n_trials"])
    cell = {"gru": kpf.GRU, "vanilla-rnn": kpf.VanillaRNN}[kind](task.n_inputs, size["units"])
    optimizer, courses, losses = kpf.Adam(learning_rate), {}, []
    count, every = size["every"]
    for seed in size["seeds"]:
        run = kpf.fit(
            cell, task, params=cell.init_params(rng=seed), n_iterations=count * every,
            optimizer=optimizer, checkpoint_every=every, rng=seed,
        )  # fmt: skip
        iterations, loss, cosines, last = matrices(run, batch, optimizer)
        losses.append(loss)
        for quantity, of_checkpoints in cosines.items():
            for pair, places in PAIRS.items():
                values = [of_checkpoints[:, i, j] for i, j in places]
                courses.setdefault(f"{quantity}, {pair}", []).append(np.mean(values, axis=0))
    loss = np.mean(losses, axis=0)
    print(f"{cell}, {len(losses)} seeds, evaluation loss {loss[0]:.3g} to {loss[-1]:.3g}")
    print("cosines: mean [smallest, largest]")
    for name, values in courses.items():
        mean, low, high = (f(values, axis=0) for f in (np.mean, np.min, np.max))
        for place in range(0, count + 1, max(1, count // 10)):
            if np.isfinite(mean[place]):
                at = f"{mean[place]:.3f} [{low[place]:.3f}, {high[place]:.3f}]"
                print(f"{name}, iteration {iterations[place]}: {at}")
    for quantity in QUANTITIES:
        first, second = (np.array(courses[f"{quantity}, {pair}"]) for pair in PAIRS)
        found = [np.flatnonzero(gap > GAP) for gap in first - second]
        onsets = [iterations[each[0]] if len(each) else "never" for each in found]
        print(f"{quantity}: first told apart by {GAP} at iterations {onsets}")
    draw(iterations, courses, last)
    return {name: np.array(values)[:, 1:] for name, values in courses.items()}


def draw(iterations, courses, result):
    """Draw the courses of the pairs, and the last seed's matrix at the end."""
    _, panels = plt.subplots(1, 5, figsize=(17, 3.6), layout="constrained")
    for panel, quantity in zip(panels, QUANTITIES, strict=False):
        for colour, pair in zip(("C0", "C1"), PAIRS, strict=True):
            values = np.array(courses[f"{quantity}, {pair}"])
            panel.plot(iterations, values.mean(axis=0), "o-", ms=3, color=colour, label=pair)
            panel.fill_between(
                iterations, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, lw=0
            )
        panel.axhline(0, color="k", lw=0.5)
        panel.set(title=quantity, xlabel="iteration", ylim=(-1.05, 1.05))
    panels[0].set_ylabel("cosine between tasks")
    panels[0].legend(frameon=False)
    kpf.plotting.interference_matrix(result, ax=panels[4])
    panels[4].set_title("gradients, at the end")


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
