"""
Interference of four tasks
==========================

One network learns Memory-Pro, Memory-Anti, Delay-Pro and Delay-Anti, each announced by a cue. At
every checkpoint the tangent kernel tells exactly what a step on one task does to the others, and
the cosines of the states tell how alike the network treats them.

Pairs with the same response (both Pro, or both Anti) are set against pairs with the same delay:
which are alike in the kernel, which in the states, and from when on. The matrix on the right has
the cosines of the tasks' gradients at the end of training, a negative one being interference.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

SIZES = {
    "small": {"units": 12, "steps": 3, "iterations": 20, "n_trials": 8, "seeds": (3,)},
    "full": {"units": 48, "steps": 10, "iterations": 1000, "n_trials": 32, "seeds": (3, 4, 5)},
}
PAIRS = {"same response": ((0, 2), (1, 3)), "same delay": ((0, 1), (2, 3))}
QUANTITIES = ("gradients", "contributions, accumulated", "states")


def matrices(run, batch):
    """Return iterations, losses, and the cosines of each kind at each checkpoint."""
    found, states = [], []
    for checkpoint in run.checkpoints:
        trajectory = kpf.simulate(run.cell, checkpoint.params, batch.inputs)
        error = kpf.state_error(trajectory, checkpoint.readout, batch.targets, mask=batch.mask)
        lin = kpf.linearize(trajectory)
        found.append(kpf.interference(lin, error, batch.task_ids, names=batch.task_names))
        states.append(kpf.task_similarity(trajectory.states, batch.task_ids))
    iterations = [checkpoint.iteration for checkpoint in run.checkpoints]
    # Checkpoints are equally far apart, and each stands for the stretch that follows it.
    contributions = kpf.accumulated_contribution_cosines(found)
    cosines = ([each.cosines for each in found], contributions, states)
    losses = [checkpoint.evaluation_loss for checkpoint in run.checkpoints]
    return iterations, losses, dict(zip(QUANTITIES, map(np.array, cosines), strict=True))


def main(scale="small", *, kind="gru", learning_rate=3e-3, **sizes):
    """Train, compare the tasks, print and draw; returns each course, a row a seed."""
    size = SIZES[scale] | sizes
    steps = size["steps"]
    task = kpf.MultiTask(n_context=steps, n_stimulus=steps, n_memory=steps, n_response=steps)
    batch = task.evaluation_batch(size["n_trials"])
    cell = {"gru": kpf.GRU, "vanilla-rnn": kpf.VanillaRNN}[kind](task.n_inputs, size["units"])
    courses, losses = {}, []
    for seed in size["seeds"]:
        run = kpf.fit(
            cell, task, params=cell.init_params(rng=seed), n_iterations=size["iterations"],
            optimizer=kpf.Adam(learning_rate), checkpoint_every=size["iterations"] // 10, rng=seed,
        )  # fmt: skip
        iterations, loss, cosines = matrices(run, batch)
        losses.append(loss)
        for quantity, of_checkpoints in cosines.items():
            for pair, places in PAIRS.items():
                values = [of_checkpoints[:, i, j] for i, j in places]
                courses.setdefault(f"{quantity}, {pair}", []).append(np.mean(values, axis=0))
    print(f"{cell}, {len(losses)} seeds: cosines, mean [smallest, largest]")
    print(f"evaluation loss: {np.mean(losses, axis=0)[0]:.3g} to {np.mean(losses, axis=0)[-1]:.3g}")
    for name, values in courses.items():
        for place in (0, len(iterations) // 2, -1):
            at = np.array(values)[:, place]
            low, high = at.min(), at.max()
            print(f"{name}, iteration {iterations[place]}: {at.mean():.3f} [{low:.3f}, {high:.3f}]")
    draw(iterations, courses, cosines["gradients"][-1], batch.task_names)
    return courses


def draw(iterations, courses, matrix, names):
    """Draw the courses of the pairs, and the last seed's matrix at the end."""
    figure, panels = plt.subplots(1, 4, figsize=(14, 3.6), layout="constrained")
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
    image = panels[3].imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
    panels[3].set_xticks(range(len(names)), names, rotation=40, ha="right")
    panels[3].set_yticks(range(len(names)), names)
    panels[3].set_title("gradients, at the end")
    figure.colorbar(image, ax=panels[3], label="cosine")


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
