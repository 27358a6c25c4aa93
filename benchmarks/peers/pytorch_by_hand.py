"""The structured products of P, P*, K and the NTK written in PyTorch, without differentiation.

A block is a tuple of parts of the state, each ``(T, B, k, H)``: a step is then one matrix product
of ``(B k, H)``, and K two of ``(T B, m)`` and ``(T B, k H)``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from .contract import Problem
from .local_derivatives import local_derivatives

Block = tuple[torch.Tensor, ...]


class Peer:
    def __init__(self, problem: Problem, dtype: str) -> None:
        local = local_derivatives(problem, dtype)
        self.n_parts, self.n_recurrent = local.n_parts, local.n_recurrent
        self.weight = torch.from_numpy(local.weight)
        self.features = [torch.from_numpy(f).flatten(0, 1) for f in local.features]
        self.gains = [
            {part: torch.from_numpy(gain).unsqueeze(2) for part, gain in gains.items()}
            for gains in local.gains
        ]
        self.carries = {
            parts: torch.from_numpy(carry).unsqueeze(2) for parts, carry in local.carries.items()
        }
        self.dtype = dtype

    def product(self, name: str) -> Callable[[Block], Block]:
        function = {
            "P": self.propagate,
            "P*": self.propagate_adjoint,
            "K": self.gram,
            "NTK": lambda q: self.propagate(self.gram(self.propagate_adjoint(q))),
        }[name]

        def run(q: Block) -> Block:
            with torch.inference_mode():
                return function(q)

        return run

    def propagate(self, q: Block) -> Block:
        n_steps, n_trials, k, units = q[0].shape
        out = tuple(torch.empty_like(part) for part in q)
        rows = q[0].new_empty((n_trials * k, self.n_recurrent * units))
        gates = rows.view(n_trials, k, self.n_recurrent, units)
        for part in range(self.n_parts):
            out[part][0] = q[part][0]
        for t in range(1, n_steps):
            torch.mm(out[0][t - 1].view(-1, units), self.weight.T, out=rows)
            for part in range(self.n_parts):
                terms = [
                    (gains[part][t], gates[:, :, g])
                    for g, gains in enumerate(self.gains[: self.n_recurrent])
                    if part in gains
                ]
                terms += [
                    (carry[t], out[source][t - 1])
                    for (to, source), carry in self.carries.items()
                    if to == part
                ]
                start, target = q[part][t], out[part][t]
                for gain, values in terms:
                    torch.addcmul(start, gain, values, out=target)
                    start = target
        return out

    def propagate_adjoint(self, q: Block) -> Block:
        n_steps, n_trials, k, units = q[0].shape
        out = tuple(torch.empty_like(part) for part in q)
        rows = q[0].new_empty((n_trials * k, self.n_recurrent * units))
        gates = rows.view(n_trials, k, self.n_recurrent, units)
        for part in range(self.n_parts):
            out[part][-1] = q[part][-1]
        for t in range(n_steps - 2, -1, -1):
            for g, gains in enumerate(self.gains[: self.n_recurrent]):
                for index, (part, gain) in enumerate(gains.items()):
                    if index == 0:
                        torch.mul(gain[t + 1], out[part][t + 1], out=gates[:, :, g])
                    else:
                        gates[:, :, g].addcmul_(gain[t + 1], out[part][t + 1])
            target = out[0][t].view(-1, units)
            torch.addmm(q[0][t].view(-1, units), rows, self.weight, out=target)
            for part in range(1, self.n_parts):
                out[part][t] = q[part][t]
            for (to, source), carry in self.carries.items():
                out[source][t].addcmul_(carry[t + 1], out[to][t + 1])
        return out

    def gram(self, q: Block) -> Block:
        out = tuple(torch.zeros_like(part) for part in q)
        for features, gains in zip(self.features, self.gains, strict=True):
            parts = list(gains.items())
            driven = parts[0][1] * q[parts[0][0]]
            for part, gain in parts[1:]:
                driven.addcmul_(gain, q[part])
            flat = driven.view(len(features), -1)
            torch.mm(features, features.T @ flat, out=flat)
            for part, gain in parts:
                out[part].addcmul_(gain, driven)
        return out

    def to_native(self, block: np.ndarray) -> Block:
        parts = np.split(block.astype(self.dtype).transpose(1, 0, 3, 2), self.n_parts, axis=-1)
        return tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in parts)

    def to_numpy(self, native: Block) -> np.ndarray:
        return torch.cat(native, dim=-1).numpy().transpose(1, 0, 3, 2)

    def training_step(self) -> Callable[[], dict[str, np.ndarray]]:
        raise NotImplementedError("Training is measured through automatic differentiation.")
