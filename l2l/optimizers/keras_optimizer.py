"""A trained optimizer as Keras wants it: with a learning rate that callbacks change."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional, Union

import tensorflow.compat.v1 as tf
from tensorflow.python.keras import backend

from l2l import checks
from l2l.optimizers.learned_optimizer import LearnedOptimizer
from l2l.optimizers.row_functions import is_coordinatewise
from l2l.optimizers.trained import Trained, load
from l2l.types import PathLike


class KerasOptimizer(tf.keras.optimizers.Optimizer):
    """A learned optimizer for Keras: a `LearnedOptimizer` with hyperparameters that callbacks and users change.

        model.compile(l2l.KerasOptimizer("general", steps=epochs * steps_per_epoch), "mse")

    `learning_rate`, and `steps` where the optimizer is not coordinate-wise, are variables of Keras, as others have
    them: `ReduceLROnPlateau` and `LearningRateScheduler` work; before a second `fit`,
    `keras.backend.set_value(model.optimizer.steps, 4000)` plans more steps, counted from the first of all.
    `learning_rate` may be a `tf.keras.optimizers.schedules.LearningRateSchedule` too, a multiplier by `iterations`.

    A model with it is saved and loaded as with others, with `custom_objects={"KerasOptimizer": l2l.KerasOptimizer}`;
    but only if `trained` is a path or a name.

    Args:
      trained, steps, learning_rate, weight_decay: as for `LearnedOptimizer`; `steps` is an integer or None.
      name: of the ops and slots.
      clipnorm, clipvalue: as for all of Keras's optimizers.

    Attributes:
      skipped: as of `LearnedOptimizer`.

    Raises:
      TypeError, ValueError: as `LearnedOptimizer`.
    """

    def __init__(
        self,
        trained: Union[Trained, PathLike],
        *,
        steps: Optional[int] = None,
        learning_rate: Any = 1.0,
        weight_decay: float = 0.0,
        name: str = "KerasOptimizer",
        **kwargs: Any,
    ) -> None:
        super().__init__(name, **kwargs)
        if not isinstance(learning_rate, tf.keras.optimizers.schedules.LearningRateSchedule):
            learning_rate = checks.number_from_zero("learning_rate", kwargs.get("lr", learning_rate))
        steps = None if steps is None else checks.positive_integer("steps", steps)
        self._set_hyper("learning_rate", learning_rate)
        self._given, self._planned, self.weight_decay = trained, steps, weight_decay
        loaded = load(trained) if isinstance(trained, (str, os.PathLike)) else trained
        if steps is not None and isinstance(loaded, Trained) and not is_coordinatewise(loaded):
            self._set_hyper("steps", steps)
            steps = self._present_steps
        self._inner = LearnedOptimizer(
            loaded,
            steps=steps,
            learning_rate=lambda: self._decayed_lr(tf.float32),
            weight_decay=weight_decay,
            name=name,
        )
        self._track_trackable(self._inner, "learned")

    def _present_steps(self):
        return self._get_hyper("steps")

    @property
    def _checkpoint_dependencies(self):
        # What was planned when a checkpoint was written is not to undo what is planned now.
        return [one for one in super()._checkpoint_dependencies if one.name != "steps"]

    @property
    def skipped(self) -> Optional[tf.Variable]:
        """How many tensors were left out, since their gradients were not finite."""
        return self._inner.skipped

    @property
    def weights(self) -> List[tf.Variable]:
        """`iterations`, and all that the optimizer remembers."""
        return [self.iterations, *self._inner.variables()]

    def apply_gradients(self, grads_and_vars: Any, name: Optional[str] = None) -> tf.Operation:
        """As that of Keras's optimizers."""
        with tf.init_scope():
            self._create_hypers()
        train = self._inner.apply_gradients(grads_and_vars, global_step=self.iterations, name=name)
        for variable in self._inner.variables():
            backend.track_variable(variable)  # which Keras initializes then
        return train

    def get_config(self) -> Dict[str, Any]:
        """The arguments in JSON types.

        Raises:
          NotImplementedError: `trained` is no path: save it with `l2l.save` first.
        """
        if not isinstance(self._given, (str, os.PathLike)):
            raise NotImplementedError("a KerasOptimizer that is to be saved must be made from a path; see l2l.save")
        config = {
            "trained": os.fspath(self._given),
            "learning_rate": self._serialize_hyperparameter("learning_rate"),
            "steps": self._planned,
            "weight_decay": self.weight_decay,
        }
        if "steps" in self._hyper:
            config["steps"] = int(self._serialize_hyperparameter("steps"))
        return {**super().get_config(), **config}
