"""The step of every cell once more, in ``autograd.numpy``, straight from its equations.

Validation differentiates these automatically and compares the result with the derivatives that
the cells take by hand. Nothing here is shared with the cells or their kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import autograd.numpy as anp

from ..cells import GRU, LSTM, AutogradCell, LeakyRNN, LowRankRNN, VanillaRNN
from ..cells.autograd_cell import Step
from ..cells.base import Cell


def reference_step(cell: Cell) -> Step | None:
    """Return ``step(params, x, h) -> h_next`` of a cell, on rows ``(M, I)`` and ``(M, N)``.

    An :class:`AutogradCell` has its own. None for a cell that is neither that nor one of ours.
    """
    match cell:
        case AutogradCell():
            return cell.step
        case VanillaRNN():
            return lambda params, x, h: _vanilla(cell.activation, params, x, h)
        case LeakyRNN():
            return lambda params, x, h: _leaky(cell, params, x, h)
        case LowRankRNN():
            return lambda params, x, h: _low_rank(cell, params, x, h)
        case GRU():
            return _gru
        case LSTM():
            return _lstm
        case _:
            return None


def _activate(activation: str, a: Any) -> Any:
    # The derivative of relu at 0 is 0 here, too; that of maximum would be one half.
    return anp.tanh(a) if activation == "tanh" else anp.where(anp.real(a) > 0, a, 0.0)


def _sigmoid(a: Any) -> Any:
    return 0.5 * anp.tanh(0.5 * a) + 0.5


def _affine(weight: Any, bias: Any | None, u: Any) -> Any:
    product = anp.dot(u, weight.T)
    return product if bias is None else product + bias


def _bias(params: Mapping[str, Any], name: str) -> Any | None:
    return params[name] if name in params else None  # noqa: SIM401 - autograd's dict lacks get


def _vanilla(activation: str, params: Mapping[str, Any], x: Any, h: Any) -> Any:
    a = _affine(params["weight_ih"], _bias(params, "bias_ih"), x)
    a = a + _affine(params["weight_hh"], _bias(params, "bias_hh"), h)
    return _activate(activation, a)


def _leaky(cell: LeakyRNN, params: Mapping[str, Any], x: Any, h: Any) -> Any:
    drive = _affine(params["weight_ih"], _bias(params, "bias"), x)
    if cell.form == "rate":
        target = _activate(cell.activation, anp.dot(h, params["weight_hh"].T) + drive)
    else:
        target = anp.dot(_activate(cell.activation, h), params["weight_hh"].T) + drive
    return (1.0 - cell.leak) * h + cell.leak * target


def _low_rank(cell: LowRankRNN, params: Mapping[str, Any], x: Any, h: Any) -> Any:
    weight = anp.dot(params["left"], params["right"].T)
    drive = _affine(params["weight_ih"], _bias(params, "bias"), x)
    if cell.form == "rate":
        target = _activate(cell.activation, anp.dot(h, weight.T) + drive)
    else:
        target = anp.dot(_activate(cell.activation, h), weight.T) + drive
    return (1.0 - cell.leak) * h + cell.leak * target


def _gru(params: Mapping[str, Any], x: Any, h: Any) -> Any:
    i_r, i_z, i_n = anp.split(_affine(params["weight_ih"], _bias(params, "bias_ih"), x), 3, axis=-1)
    h_r, h_z, h_n = anp.split(_affine(params["weight_hh"], _bias(params, "bias_hh"), h), 3, axis=-1)
    r, z = _sigmoid(i_r + h_r), _sigmoid(i_z + h_z)
    n = anp.tanh(i_n + r * h_n)
    return (1.0 - z) * n + z * h


def _lstm(params: Mapping[str, Any], x: Any, h: Any) -> Any:
    hidden, c = anp.split(h, 2, axis=-1)
    a = _affine(params["weight_ih"], _bias(params, "bias_ih"), x)
    a = a + _affine(params["weight_hh"], _bias(params, "bias_hh"), hidden)
    i, f, g, o = anp.split(a, 4, axis=-1)
    c_next = _sigmoid(f) * c + _sigmoid(i) * anp.tanh(g)
    return anp.concatenate([_sigmoid(o) * anp.tanh(c_next), c_next], axis=-1)
