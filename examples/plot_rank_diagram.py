r"""
Spatial and temporal rank
=========================

Random networks by two effective ranks: of the response ``(I - g W)^-1``, and of ``[h, x]``, which
the weights see over trials and time. The spatial rank falls as the spectral radius of ``g W`` nears
1 (g = 1 for Gaussian weights, sqrt(3) for PyTorch's), along the limit ``H (1 - g^2)^2`` of large
networks (dashed); bands are the range over seeds. The temporal rank grows with the number I of
white inputs, but not with that of inputs that say the same: those only hold down the activity of
chaotic networks.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

import kpflow_numerics as kpf

SIZES = {
    "small": {
        "n_units": 16, "gains": (0.0, 0.5, 1.0, 1.5, 2.0), "n_inputs": (3, 30), "seeds": (3, 4),
        "n_trials": 8, "n_steps": 10,
    },
    "full": {
        "n_units": 128, "gains": tuple(np.linspace(0, 2, 21).round(2)),
        "n_inputs": (3, 6, 10, 20, 35, 60, 100), "seeds": (3, 4, 5, 6, 7),
        "n_trials": 32, "n_steps": 60,
    },
}  # fmt: skip
RADII = {"PyTorch": 1 / np.sqrt(3), "Gaussian": 1.0}


def weights(cell, kind, seed):
    """Return parameters whose recurrent weights, at g = 1, are PyTorch's or Gaussian."""
    params = cell.init_params(rng=seed)
    if kind == "Gaussian":
        H = cell.n_units
        params["weight_hh"] = np.random.default_rng(seed).standard_normal((H, H)) / np.sqrt(H)
    return params


def input_trials(source, n_inputs, n_trials, n_steps, seed):
    """Return inputs of unit variance: white noise, or an observed linear system to forecast."""
    if source == "white":
        return np.random.default_rng(seed).standard_normal((n_trials, n_steps, n_inputs))
    task = kpf.LowRankForecast(n_embedded_inputs=n_inputs, n_steps=n_steps)
    inputs = task.sample(n_trials, rng=seed).inputs
    return (inputs - inputs.mean()) / inputs.std()


def main(scale="small", **sizes):
    """Measure both ranks over g, I and seeds; print, draw and return them, a seed a row."""
    size = SIZES[scale] | sizes
    gains, seeds, H = size["gains"], size["seeds"], size["n_units"]
    shape = (len(seeds), len(gains), len(size["n_inputs"]))
    found = {f"temporal, {source}": np.zeros(shape) for source in ("white", "forecast")}
    for kind in RADII:
        cell = kpf.VanillaRNN(3, H)
        results = [
            [kpf.spatial_rank(weights(cell, kind, seed)["weight_hh"], g) for g in gains]
            for seed in seeds
        ]
        conditions = [[r.condition_number for r in row] for row in results]
        found[f"spatial, {kind}"] = np.array([[r.rank for r in row] for row in results])
        found[f"log10 condition, {kind}"] = np.log10(conditions)
    for i, seed in enumerate(seeds):
        for k, n_inputs in enumerate(size["n_inputs"]):
            cell = kpf.VanillaRNN(n_inputs, H)
            params = weights(cell, "Gaussian", seed)
            for source in ("white", "forecast"):
                x = input_trials(source, n_inputs, size["n_trials"], size["n_steps"], seed)
                for j, g in enumerate(gains):
                    scaled = params | {"weight_hh": g * params["weight_hh"]}
                    rank = kpf.temporal_rank(kpf.simulate(cell, scaled, x)).value
                    found[f"temporal, {source}"][i, j, k] = rank
    for name, values in found.items():
        print(f"{name}, mean [smallest, largest] over {len(seeds)} seeds")
        for j in range(0, len(gains), max(1, len(gains) // 10)):
            columns = values[:, j].reshape(len(seeds), -1)
            texts = [f"{v.mean():.3g} [{v.min():.3g}, {v.max():.3g}]" for v in columns.T]
            print(f"   g = {gains[j]:.2g}: " + ", ".join(texts))
    draw(found, gains, size["n_inputs"], H)
    return found


def draw(found, gains, n_inputs, n_units):
    """Draw the spatial rank against g, and maps of the temporal rank over g and I."""
    _, panels = plt.subplots(1, 3, figsize=(12.5, 3.7), layout="constrained")
    for colour, (kind, radius) in zip(("C0", "C3"), RADII.items(), strict=True):
        values = found[f"spatial, {kind}"]
        panels[0].plot(gains, values.mean(axis=0), "o-", ms=3, color=colour, label=kind)
        panels[0].fill_between(gains, values.min(0), values.max(0), color=colour, alpha=0.2, lw=0)
        limit = np.linspace(0, min(max(gains), 0.94 / radius), 100)
        panels[0].plot(limit, n_units * (1 - (radius * limit) ** 2) ** 2, "--", color=colour, lw=1)
    panels[0].set(xlabel="g", ylabel="rank of $(I - gW)^{-1}$", yscale="log", ylim=(0.9, None))
    panels[0].legend(title="weights W", frameon=False)
    maps = {source: found[f"temporal, {source}"].mean(axis=0) for source in ("white", "forecast")}
    for panel, (source, values) in zip(panels[1:], maps.items(), strict=True):
        grid = (gains, range(len(n_inputs)), values.T)
        image = panel.pcolormesh(*grid, norm="log", vmin=1, vmax=n_units)
        lines = panel.contour(*grid, 2.0 ** np.arange(1, 8), colors="w", linewidths=0.7)
        panel.clabel(lines, fmt="%.0f", fontsize=8)
        panel.set_yticks(range(len(n_inputs)), n_inputs)
        panel.set(xlabel="g (Gaussian W)", ylabel="inputs I", title=f"$[h, x]$, {source} inputs")
    plt.colorbar(image, ax=panels[1:], label="temporal rank")


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
