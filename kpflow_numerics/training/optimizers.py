"""First-order optimisers, with PyTorch's update formulas.

An optimiser is a value that holds settings only. Its state is a dict of arrays that the caller
keeps: :meth:`Optimizer.update` takes parameters, gradients and state, and returns new parameters
and a new state, changing none of what it was given. The names of the state are flat, such as
``"first_moment/weight_hh"``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

import numpy as np

from .._typing import FloatArray, Params
from .._validation import InputError, InputTypeError, check_array, check_choice, check_real, suggest

OptimizerState: TypeAlias = dict[str, FloatArray]


@dataclass(frozen=True)
class Optimizer(ABC):
    """A rule that turns gradients into steps of the parameters.

    Attributes
    ----------
    name : str
        The name on the command line and in files.
    """

    name: ClassVar[str]

    @abstractmethod
    def init_state(self, params: Params) -> OptimizerState:
        """Return the state before the first update.

        Parameters
        ----------
        params : dict of str to ndarray
            The parameters that will be updated.

        Returns
        -------
        dict of str to ndarray
            Empty where the optimiser has no state.
        """

    @abstractmethod
    def update(
        self, params: Params, gradients: Params, state: OptimizerState
    ) -> tuple[Params, OptimizerState]:
        """Return the parameters and the state after one step.

        Parameters
        ----------
        params, gradients : dict of str to ndarray
            The parameters, and the gradient of the loss by them, of the same names and shapes.
        state : dict of str to ndarray
            What :meth:`init_state` or the last update returned.

        Returns
        -------
        params, state : dict of str to ndarray
            New arrays, in the precision of the parameters.
        """

    def check_state(
        self, state: Any, params: Params, name: str = "optimizer_state"
    ) -> OptimizerState:
        """Return a stored state, if it is one of this optimiser for these parameters.

        Raises
        ------
        InputError
            If an entry is missing, unknown, of the wrong shape or not finite.
        InputTypeError
            If `state` is not a mapping of names to numbers.
        """
        if not isinstance(state, Mapping):
            raise InputTypeError(f"{name} must map names to arrays; got {type(state).__name__}.")
        expected = self.init_state(params)
        if set(state) != set(expected):
            raise InputError(
                f"{name} does not belong to {self!r} and these parameters: it has the entries "
                f"{_listed(state)}; expected {_listed(expected)}. Resume with the optimiser that "
                "the run was started with."
            )
        return {
            key: check_array(state[key], f"{name}[{key!r}]", array.shape, dtype=array.dtype)
            for key, array in expected.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, which :func:`optimizer_from_config` takes."""
        return asdict(self)


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent ``theta <- theta - learning_rate g``.

    Parameters
    ----------
    learning_rate : float
        Size of the step.

    Raises
    ------
    InputError, InputTypeError
        If the learning rate is not a positive number.

    Examples
    --------
    >>> import numpy as np
    >>> from kpflow_numerics.training import SGD
    >>> params, _ = SGD(0.5).update({"w": np.ones(1)}, {"w": np.array([4.0])}, {})
    >>> params["w"]
    array([-1.])
    """

    name: ClassVar[str] = "sgd"

    learning_rate: float

    def __post_init__(self) -> None:
        _hold_learning_rate(self)

    def init_state(self, params: Params) -> OptimizerState:  # noqa: ARG002
        """Return an empty state."""
        return {}

    def update(
        self, params: Params, gradients: Params, state: OptimizerState
    ) -> tuple[Params, OptimizerState]:
        """Return the parameters after one step; see :meth:`Optimizer.update`."""
        return _stepped(params, gradients, self.learning_rate), dict(state)


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Gradient descent with momentum, as PyTorch's ``SGD`` without dampening.

    ``v <- momentum v + g``, then ``theta <- theta - learning_rate v``, or with Nesterov's form
    ``theta <- theta - learning_rate (g + momentum v)``; ``v`` starts at zero.

    Parameters
    ----------
    learning_rate : float
        Size of the step.
    momentum : float
        From 0 up to, but not including, 1.
    nesterov : bool
        Whether to take Nesterov's form.

    Raises
    ------
    InputError, InputTypeError
        If a setting is out of its range.

    References
    ----------
    Sutskever, Martens, Dahl, Hinton (2013), ICML; the formulas are those of PyTorch's manual.

    Examples
    --------
    >>> import numpy as np
    >>> from kpflow_numerics.training import Momentum
    >>> rule, params = Momentum(0.5), {"w": np.zeros(1)}
    >>> state = rule.init_state(params)
    >>> for _ in range(2):
    ...     params, state = rule.update(params, {"w": np.ones(1)}, state)
    >>> params["w"], state["velocity/w"]
    (array([-1.45]), array([1.9]))
    """

    name: ClassVar[str] = "momentum"

    learning_rate: float
    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        _hold_learning_rate(self)
        _hold_fraction(self, "momentum")
        if not isinstance(self.nesterov, bool):
            raise InputTypeError(f"nesterov must be True or False; got {self.nesterov!r}.")

    def init_state(self, params: Params) -> OptimizerState:
        """Return velocities of zero."""
        return {f"velocity/{key}": np.zeros_like(array) for key, array in params.items()}

    def update(
        self, params: Params, gradients: Params, state: OptimizerState
    ) -> tuple[Params, OptimizerState]:
        """Return the parameters and velocities after one step; see :meth:`Optimizer.update`."""
        velocity: Params = {
            key: np.asarray(self.momentum * state[f"velocity/{key}"] + gradients[key])
            for key in params
        }
        direction = velocity
        if self.nesterov:
            direction = {key: gradients[key] + self.momentum * velocity[key] for key in params}
        new_state: OptimizerState = {f"velocity/{key}": array for key, array in velocity.items()}
        return _stepped(params, direction, self.learning_rate), new_state


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam, as in PyTorch.

    With the gradient ``g`` and the number ``s`` of the step, counted from 1::

        m <- m + (1 - beta1) (g - m)
        v <- beta2 v + (1 - beta2) g^2
        theta <- theta - learning_rate / (1 - beta1^s) m / (sqrt(v) / sqrt(1 - beta2^s) + epsilon)

    Parameters
    ----------
    learning_rate : float
        Size of the step.
    beta1, beta2 : float
        Decay of the two moments, from 0 up to, but not including, 1.
    epsilon : float
        Added to the denominator; positive.

    Raises
    ------
    InputError, InputTypeError
        If a setting is out of its range.

    References
    ----------
    Kingma and Ba (2015), ICLR; the formulas are those of PyTorch's manual.

    Examples
    --------
    >>> import numpy as np
    >>> from kpflow_numerics.training import Adam
    >>> rule, params = Adam(0.01), {"w": np.zeros(1)}
    >>> state = rule.init_state(params)
    >>> for _ in range(2):
    ...     params, state = rule.update(params, {"w": np.array([7.0])}, state)
    >>> params["w"]
    array([-0.02])
    """

    name: ClassVar[str] = "adam"

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        _hold_learning_rate(self)
        _hold_fraction(self, "beta1")
        _hold_fraction(self, "beta2")
        epsilon = check_real(self.epsilon, "epsilon", minimum=0.0, open_minimum=True)
        object.__setattr__(self, "epsilon", epsilon)

    def init_state(self, params: Params) -> OptimizerState:
        """Return moments of zero, and no steps made."""
        zeros = {
            f"{moment}/{key}": np.zeros_like(array)
            for moment in ("first_moment", "second_moment")
            for key, array in params.items()
        }
        return {"step": np.zeros(()), **zeros}

    def update(
        self, params: Params, gradients: Params, state: OptimizerState
    ) -> tuple[Params, OptimizerState]:
        """Return the parameters and moments after one step; see :meth:`Optimizer.update`."""
        step = float(state["step"]) + 1.0
        step_size = self.learning_rate / (1.0 - self.beta1**step)
        correction = float(np.sqrt(1.0 - self.beta2**step))
        updated: Params = {}
        new_state: OptimizerState = {"step": np.array(step)}
        for key, array in params.items():
            g, m = gradients[key], state[f"first_moment/{key}"]
            m = m + (1.0 - self.beta1) * (g - m)
            v = self.beta2 * state[f"second_moment/{key}"] + (1.0 - self.beta2) * (g * g)
            move = m / (np.sqrt(v) / correction + self.epsilon)
            updated[key] = np.asarray(array - step_size * move)
            new_state[f"first_moment/{key}"] = np.asarray(m)
            new_state[f"second_moment/{key}"] = np.asarray(v)
        return updated, new_state


OPTIMIZERS: Mapping[str, type[Optimizer]] = MappingProxyType(
    {rule.name: rule for rule in (SGD, Momentum, Adam)}
)
"""The class of each optimiser, by its name on the command line."""


def optimizer_from_config(name: str, options: Mapping[str, Any] | None = None) -> Optimizer:
    """Return the optimiser of a name with the given settings.

    Parameters
    ----------
    name : str
        A key of :data:`OPTIMIZERS`.
    options : mapping of str to number, optional
        Arguments of the optimiser's class; what is left out has its default.

    Returns
    -------
    Optimizer

    Raises
    ------
    InputError
        If the name or a setting is unknown (the message suggests the nearest one) or out of
        range, or a setting without default is missing.
    InputTypeError
        If `options` is not a mapping, or a value is of the wrong type.

    Examples
    --------
    >>> from kpflow_numerics.training import optimizer_from_config
    >>> rule = optimizer_from_config("adam", {"learning_rate": 0.002})
    >>> rule
    Adam(learning_rate=0.002, beta1=0.9, beta2=0.999, epsilon=1e-08)
    >>> optimizer_from_config(rule.name, rule.to_dict()) == rule
    True
    """
    rule = OPTIMIZERS[check_choice(name, "optimizer", OPTIMIZERS)]
    options = {} if options is None else options
    if not isinstance(options, Mapping):
        raise InputTypeError(
            f"options of optimizer {name!r} must map names to values; got {type(options).__name__}."
        )
    accepted = [setting.name for setting in fields(rule)]
    for option in options:
        if option not in accepted:
            raise InputError(
                f"optimizer {name!r} has no option {option!r}; it takes {', '.join(accepted)}."
                f"{suggest(str(option), accepted)}"
            )
    for setting in fields(rule):
        if setting.default is MISSING and setting.name not in options:
            raise InputError(f"optimizer {name!r} needs a {setting.name}, which has no default.")
    return rule(**options)


def _stepped(params: Params, direction: Params, learning_rate: float) -> Params:
    # NumPy gives scalars for arrays without axes, which a user's own cell may have.
    return {
        key: np.asarray(array - learning_rate * direction[key]) for key, array in params.items()
    }


def _hold_learning_rate(optimizer: Any) -> None:
    rate = check_real(optimizer.learning_rate, "learning_rate", minimum=0.0, open_minimum=True)
    object.__setattr__(optimizer, "learning_rate", rate)


def _hold_fraction(optimizer: Any, setting: str) -> None:
    value = check_real(
        getattr(optimizer, setting), setting, minimum=0.0, maximum=1.0, open_maximum=True
    )
    object.__setattr__(optimizer, setting, value)


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names)) or "none"
