"""Several learned optimizers as one: one for each group of an optimizee's tensors."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

import tensorflow.compat.v1 as tf

from l2l import checks
from l2l.nests import tensors_of
from l2l.optimizers import adam_controller, networks
from l2l.optimizers.optimizer import Bound, check_pair, described, opened
from l2l.types import BuildOptimizer, Nest, State

MOST_GROUPS = 100  # in a file


class Grouped:
    """One optimizer for each group of tensors, `(gradients, state) -> (update, state)`.

    The position must be a dict, such as `{"conv": ..., "dense": ...}`, and each entry is a group. Every group has its
    own optimizer with its own variables and state; it sees only the gradients of its group. `Trainer` makes a `Grouped`
    from a dict:

        Trainer(problem, {"conv": CoordinatewiseLSTM, "dense": lambda: CoordinatewiseLSTM((10,))})

    Source: arXiv 1606.04474, section 3.3, with one LSTM for convolutional and another for fully connected layers.

    Args:
      builders: dict from the name of a group to a function without arguments that creates its optimizer.

    Attributes:
      optimizers: dict from the name of a group to its `Optimizer`.
      coordinatewise: whether all these optimizers are.
      adapted: list of the adapted variables of all optimizers.

    Raises:
      TypeError, ValueError: `builders` is no such dict, or an entry creates no optimizer. When it is called: the
        position has other groups.
    """

    def __init__(self, builders: Dict[str, BuildOptimizer]) -> None:
        self.optimizers, self._scopes = {}, {}
        for name, build in checked_builders(builders).items():
            with tf.variable_scope(name, use_resource=True) as self._scopes[name]:
                self.optimizers[name] = opened("builders[%r]'s result" % name, build())
        members = self.optimizers.values()
        self.coordinatewise = all(one.coordinatewise for one in members)
        self.adapted = [variable for one in members for variable in one.adapted]
        if all(one.initial_state is not None for one in members):
            self.initial_state = self._initial_state

    def __repr__(self):
        return "<Grouped of %s>" % ", ".join("%s: %r" % (name, one.given) for name, one in self.optimizers.items())

    def __call__(self, gradients: Nest, state: State, x: Optional[Nest] = None) -> Tuple[Nest, State]:
        """Returns the update, with the structure of `gradients`, and the next state, a dict by group."""
        return self.bind().plain_step(gradients, state, x)

    def bind(self, horizon: Optional[int] = None, batch: Optional[int] = None) -> Bound:
        """Prepares all optimizers for one unroll, as one `Bound` with the kernels of all groups in turn.

        Args:
          horizon: how many base iterations are planned in total; None if unknown.
          batch: how many draws lie along a leading axis; None for one draw.
        """
        bounds, offsets, kernels = {}, {}, []
        for name, optimizer in self.optimizers.items():
            with tf.name_scope(name), self._scope(name):
                bounds[name] = optimizer.bind(horizon=horizon, batch=batch)
            offsets[name] = len(kernels)
            kernels += bounds[name].kernels

        def step(gradients, state, x, product):
            self._check_groups(gradients)
            updates, states = {}, {}
            for name, bound in bounds.items():
                first = offsets[name]
                with tf.name_scope(name), self._scope(name):
                    pair = bound.step(
                        gradients[name],
                        None if state is None else state[name],
                        None if x is None else x[name],
                        lambda i, inputs, first=first: product(first + i, inputs),
                    )
                check_pair(pair)
                updates[name], states[name] = pair
            return tf.nest.pack_sequence_as(gradients, tf.nest.flatten(updates)), states

        return Bound(step, kernels)

    def _initial_state(self, x):
        """Returns the states before the first step at a position like `x`, a dict by group."""
        self._check_groups(x)
        states = {}
        for name, optimizer in self.optimizers.items():
            with self._scope(name):
                states[name] = optimizer.initial_state(x[name])
        return states

    def adapt(self, gradients: Nest, state: State, active: Optional[Nest] = None) -> List[tf.Tensor]:
        """Returns the next values of `adapted`, a list; the arguments are dicts by group."""
        values = []
        for name, optimizer in self.optimizers.items():
            if optimizer.adapted:
                with self._scope(name):
                    of_group = None if active is None else active[name]
                    values += optimizer.adapt(gradients[name], state[name], of_group)
        return values

    def _scope(self, name):
        """Returns the variable scope of a group, in which its optimizer creates variables at its first call."""
        reuse = tf.get_variable_scope().reuse
        return tf.variable_scope(self._scopes[name], reuse=reuse, auxiliary_name_scope=False)

    def description(self) -> Dict[str, Any]:
        """Describes the optimizers in JSON types; `from_description` builds them again if all are the library's."""
        return {
            "class": type(self).__name__,
            "groups": {name: described(optimizer) for name, optimizer in self.optimizers.items()},
        }

    def _check_groups(self, x):
        groups = list(x) if isinstance(x, dict) else None
        if groups is None or sorted(groups) != sorted(self.optimizers):
            raise ValueError(
                "optimizer has the groups %s, so the position must be a dict with these entries, got %s"
                % (", ".join(map(repr, sorted(self.optimizers))), "%.200r" % (x,) if groups is None else sorted(groups))
            )
        empty = [name for name in groups if not tensors_of(x[name])]
        if empty:
            raise ValueError("group %r of the position has no tensor" % empty[0])


def checked_builders(builders):
    """Checks the dict from group to function, and returns it with the groups in the order of their names.

    Raises:
      TypeError, ValueError: it is no such dict, it has no group, or a group's name is no valid TensorFlow name.
    """
    if not isinstance(builders, dict):
        raise TypeError("builders must be a dict from group to function, got %r" % (builders,))
    if not builders:
        raise ValueError("builders must have at least one group, got {}")
    for name in builders:
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError("builders must have names of letters, digits and underscores as groups, got %r" % (name,))
    return {name: checks.function_without_arguments("builders[%r]" % name, builders[name]) for name in sorted(builders)}


def from_description(description):
    """Returns a function that builds the optimizer of a `description`, a network or a `Grouped`.

    Raises:
      ValueError: the optimizer is not one of the library's.
    """
    if isinstance(description, dict) and description.get("class") == Grouped.__name__:
        groups = description.get("groups")
        if not isinstance(groups, dict) or not 0 < len(groups) <= MOST_GROUPS:
            raise ValueError("groups must be a dict of 1 to %d optimizers, got %.200r" % (MOST_GROUPS, groups))
        builders = checked_builders({name: _network_from(one) for name, one in groups.items()})
        return lambda: Grouped(builders)
    return _network_from(description)


def _network_from(description):
    if isinstance(description, dict) and description.get("class") == adam_controller.AdamController.__name__:
        return adam_controller.from_description(description)
    return networks.from_description(description)
