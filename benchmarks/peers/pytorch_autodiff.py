"""Products through PyTorch's automatic differentiation: ``torch.func`` vjp, then jvp, vmapped.

The cell is written out step by step, because PyTorch's fused recurrent layers have no forward
derivatives; training, which needs none, uses those layers. Reverse products reuse one recorded
pass; a block is ``(k, T, B, N)``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from .contract import Problem

Weights = dict[str, torch.Tensor]
LAYERS = {"vanilla-rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}


class Peer:
    def __init__(self, problem: Problem, dtype: str) -> None:
        self.problem, self.dtype = problem, dtype
        self.weights = {k: torch.from_numpy(v) for k, v in problem.parameters(dtype).items()}
        self.inputs = torch.from_numpy(problem.input_array(dtype).transpose(1, 0, 2).copy())
        start = torch.zeros(problem.trials, problem.n_state, dtype=self.inputs.dtype)
        with torch.no_grad():
            self.states = self.trajectory(self.weights, None)
        self.previous = torch.cat([start[None], self.states[:-1]])

    def product(self, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        weights, still = self.weights, torch.zeros_like(self.states)

        def of_weights(theta: Weights) -> torch.Tensor:
            return self.trajectory(theta, None)

        def of_kicks(kicks: torch.Tensor) -> torch.Tensor:
            return self.trajectory(weights, kicks)

        def one_step(theta: Weights) -> torch.Tensor:
            flat = self.previous.flatten(0, 1)
            driven = _driven(self.problem.cell, theta, self.inputs).flatten(0, 1)
            return _step(self.problem.cell, theta, driven, flat).view_as(self.states)

        if name == "P":
            return _over_columns(lambda q: torch.func.jvp(of_kicks, (still,), (q,))[1])
        if name == "P*":
            pull = torch.func.vjp(of_kicks, still)[1]
            return _over_columns(lambda q: pull(q)[0])
        function = one_step if name == "K" else of_weights
        pull = torch.func.vjp(function, weights)[1]
        backward = _over_columns(lambda q: pull(q)[0])
        forward = _over_columns(lambda theta: torch.func.jvp(function, (weights,), (theta,))[1])
        return lambda q: forward(backward(q))

    def trajectory(self, theta: Weights, kicks: torch.Tensor | None) -> torch.Tensor:
        """Return the states from zero, ``(T, B, N)``, each kicked after its step."""
        driven = _driven(self.problem.cell, theta, self.inputs)
        state = driven.new_zeros(self.problem.trials, self.problem.n_state)
        states = []
        for t in range(self.problem.steps):
            state = _step(self.problem.cell, theta, driven[t], state)
            if kicks is not None:
                state = state + kicks[t]
            states.append(state)
        return torch.stack(states)

    def to_native(self, block: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(
            np.ascontiguousarray(block.astype(self.dtype).transpose(3, 1, 0, 2))
        )

    def to_numpy(self, native: torch.Tensor) -> np.ndarray:
        return native.detach().numpy().transpose(2, 1, 3, 0)

    def training_step(self) -> Callable[[], dict[str, np.ndarray]]:
        problem = self.problem
        layer = LAYERS[problem.cell](problem.inputs, problem.units).to(self.inputs.dtype)
        layer.load_state_dict({f"{name}_l0": value for name, value in self.weights.items()})
        weights = {k: torch.from_numpy(v) for k, v in problem.readout(self.dtype).items()}
        readout = torch.nn.Linear(problem.units, problem.inputs).to(self.inputs.dtype)
        readout.load_state_dict(weights)
        targets = torch.from_numpy(problem.targets(self.dtype).transpose(1, 0, 2).copy())
        trained = [*layer.parameters(), *readout.parameters()]

        def step() -> dict[str, np.ndarray]:
            for parameter in trained:
                parameter.grad = None
            hidden = layer(self.inputs)[0]
            torch.nn.functional.mse_loss(readout(hidden), targets).backward()
            found = {name[:-3]: p.grad.numpy() for name, p in layer.named_parameters()}
            return found | {f"readout {n}": p.grad.numpy() for n, p in readout.named_parameters()}

        return step


def _over_columns(function: Callable) -> Callable:
    """Return the function on every column; a single one does not pay for vmap."""
    vmapped = torch.func.vmap(function)

    def run(columns: torch.Tensor | Weights) -> torch.Tensor | Weights:
        leaves = columns.values() if isinstance(columns, dict) else [columns]
        if len(next(iter(leaves))) > 1:
            return vmapped(columns)
        if isinstance(columns, dict):
            return _with_column(function({name: c[0] for name, c in columns.items()}))
        return _with_column(function(columns[0]))

    return run


def _with_column(found: torch.Tensor | Weights) -> torch.Tensor | Weights:
    if isinstance(found, dict):
        return {name: array[None] for name, array in found.items()}
    return found[None]


def _driven(cell: str, theta: Weights, inputs: torch.Tensor) -> torch.Tensor:
    bias = theta["bias_ih"] if cell == "gru" else theta["bias_ih"] + theta["bias_hh"]
    return inputs @ theta["weight_ih"].T + bias


def _step(cell: str, theta: Weights, driven: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    if cell == "vanilla-rnn":
        return torch.tanh(torch.addmm(driven, state, theta["weight_hh"].T))
    if cell == "gru":
        recurrent = torch.addmm(theta["bias_hh"], state, theta["weight_hh"].T)
        drive_r, drive_z, drive_n = driven.chunk(3, dim=-1)
        r, z, m = recurrent.chunk(3, dim=-1)
        z = torch.sigmoid(drive_z + z)
        n = torch.tanh(drive_n + torch.sigmoid(drive_r + r) * m)
        return n + z * (state - n)
    h, c = state.chunk(2, dim=-1)
    i, f, g, o = torch.addmm(driven, h, theta["weight_hh"].T).chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.cat([torch.sigmoid(o) * torch.tanh(c), c], dim=-1)
