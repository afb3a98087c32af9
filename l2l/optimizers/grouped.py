"""A learned optimizer for each group of an optimizee's tensors."""

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

    The groups are the entries of a position that is a dict, such as `{"conv": ..., "dense": ...}`. Each has an
    optimizer with variables and a state of its own, which sees its gradients alone. Source: arXiv 1606.04474,
    section 3.3, with an LSTM for convolutional and another for fully connected layers.

    `Trainer` makes one of a dict from group to function: `Trainer(problem, {"conv": build, "dense": build})`.

    Args:
      builders: dict from the name of a group to a function without arguments that creates its optimizer.

    Attributes:
      optimizers: dict from the name of a group to its `Optimizer`.
      coordinatewise: whether all of them are.
      adapted: the adapted variables of all, a list.

    Raises:
      TypeError, ValueError: `builders` is no such dict, or one of them creates no optimizer. When it is called, the
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
        """The update, with the structure of `gradients`, and the next state, a dict by group."""
        return self.bind().plain_step(gradients, state, x)

    def bind(self, horizon: Optional[int] = None, batch: Optional[int] = None) -> Bound:
        """All of them for one unroll, a `Bound`: its kernels are theirs, one group after the other."""
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
        """The states before the first step at a position like `x`, a dict by group."""
        self._check_groups(x)
        states = {}
        for name, optimizer in self.optimizers.items():
            with self._scope(name):
                states[name] = optimizer.initial_state(x[name])
        return states

    def adapt(self, gradients: Nest, state: State, active: Optional[Nest] = None) -> List[tf.Tensor]:
        """The next values of `adapted`, a list."""
        values = []
        for name, optimizer in self.optimizers.items():
            if optimizer.adapted:
                with self._scope(name):
                    of_group = None if active is None else active[name]
                    values += optimizer.adapt(gradients[name], state[name], of_group)
        return values

    def _scope(self, name):
        """The variable scope of a group, to which belongs what its optimizer creates at its first call."""
        reuse = tf.get_variable_scope().reuse
        return tf.variable_scope(self._scopes[name], reuse=reuse, auxiliary_name_scope=False)

    def description(self) -> Dict[str, Any]:
        """What they are, in JSON types; `from_description` builds them again, where all are the library's own."""
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
    """Returns the dict from group to function, with the groups in order of their names.

    Raises:
      TypeError, ValueError: it is none, or has no group, or one that cannot be a name of TensorFlow's.
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
    """Function that builds the optimizer of a `description`, of a network or of groups.

    Raises:
      ValueError: it is none of the library's own.
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
