"""A trained optimizer for Keras, with a learning rate that callbacks can change."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional, Union

import tensorflow.compat.v1 as tf
from tensorflow.python.keras import backend

from l2l import checks
from l2l.optimizers.learned_optimizer import LearnedOptimizer, shown
from l2l.optimizers.row_functions import is_coordinatewise
from l2l.optimizers.trained import Trained, load
from l2l.types import PathLike


class KerasOptimizer(tf.keras.optimizers.Optimizer):
    """A learned optimizer for Keras, with a learning rate that callbacks can change.

        model.compile(l2l.KerasOptimizer("general", steps=epochs * steps_per_epoch), "mse")

    `learning_rate` is a Keras variable, as in other Keras optimizers, so `ReduceLROnPlateau` and
    `LearningRateScheduler` work. It may also be a `tf.keras.optimizers.schedules.LearningRateSchedule`, which maps
    `iterations` to the multiplier of updates.

    `steps` is a Keras variable too if it is given and the optimizer is not coordinate-wise. To plan more steps before
    a second `fit`, set it to the new total, counted from the very first step:

        keras.backend.set_value(model.optimizer.steps, 4000)

    `save` and `load_model` work if `trained` is a path or a name. After `import l2l`, `load_model` needs no
    `custom_objects`. Files and folders keep different parts of the optimizer:

    - `model.save("model.h5")` keeps its settings and its state. The loaded model continues the training. A
      `Sequential` model needs an `input_shape` in its first layer; otherwise Keras warns, and the state is lost.
    - `model.save_weights("weights")`, in TensorFlow's format, keeps its state but not `steps`. A model that is built
      and compiled alike continues the training after `load_weights`.
    - `model.save("folder", save_format="tf")` keeps its settings. Keras never restores an optimizer's state from a
      SavedModel, so the loaded model starts with a new state.

    Args:
      trained, steps, learning_rate, weight_decay: as for `LearnedOptimizer`, but `steps` must be an integer or None,
        and `learning_rate` a number or a `LearningRateSchedule`.
      name: prefix of the names of ops and slots.
      clipnorm, clipvalue: as for all Keras optimizers.

    Attributes:
      skipped: as in `LearnedOptimizer`.

    Raises:
      TypeError, ValueError: as for `LearnedOptimizer`.
    """

    _is_exported = False  # whether a SavedModel is about to ask for what this depends on

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
        self._shown = shown(self, trained, steps=self._planned, learning_rate=learning_rate, weight_decay=weight_decay)
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
        self._inner._plan_more = (
            "Plan more, counted from the first of all, with keras.backend.set_value(model.optimizer.steps, total)"
        )
        self._track_trackable(self._inner, "learned")

    def _present_steps(self):
        return self._get_hyper("steps")

    def __repr__(self):
        return self._shown

    @property
    def _checkpoint_dependencies(self):
        # A checkpoint must not replace the steps that are planned now by those planned when it was written.
        hidden, self._is_exported = {"steps", "learned"} if self._is_exported else {"steps"}, False
        # What restores a SavedModel takes each slot for one of the shape of its variable. Not all of ours are.
        return [one for one in super()._checkpoint_dependencies if one.name not in hidden]

    def _list_extra_dependencies_for_serialization(self, serialization_cache):
        # Only a SavedModel calls this, each time before it asks for the dependencies.
        self._is_exported = True
        return super()._list_extra_dependencies_for_serialization(serialization_cache)

    @property
    def skipped(self) -> Optional[tf.Variable]:
        """How many tensors were skipped because their gradients were not finite."""
        return self._inner.skipped

    @property
    def weights(self) -> List[tf.Variable]:
        """`iterations`, and all that the optimizer remembers, in the order of creation."""
        # Files in .h5 format know them by their order. In a loaded model the names of layers may differ.
        known = set(map(id, self._inner.variables()))
        return [self.iterations, *[variable for variable in tf.global_variables() if id(variable) in known]]

    def apply_gradients(self, grads_and_vars: Any, name: Optional[str] = None) -> tf.Operation:
        """Applies gradients as other Keras optimizers do."""
        with tf.init_scope():
            self._create_hypers()
        train = self._inner.apply_gradients(grads_and_vars, global_step=self.iterations, name=name)
        for variable in self._inner.variables():
            backend.track_variable(variable)  # so that Keras initializes it
        return train

    def get_config(self) -> Dict[str, Any]:
        """Returns the arguments in JSON types.

        Raises:
          NotImplementedError: `trained` is neither a path nor a name: save it with `l2l.save` first.
        """
        if not isinstance(self._given, (str, os.PathLike)):
            raise NotImplementedError(
                "a KerasOptimizer that is to be saved must be made from a path or a name; save a model without its "
                "optimizer by include_optimizer=False, or save_weights_only=True of ModelCheckpoint"
            )
        config = {
            "trained": os.fspath(self._given),
            "learning_rate": self._serialize_hyperparameter("learning_rate"),
            "steps": self._planned,
            "weight_decay": self.weight_decay,
        }
        if "steps" in self._hyper:
            config["steps"] = int(self._serialize_hyperparameter("steps"))
        return {**super().get_config(), **config}


# Keras passes no `custom_objects` on when it loads a SavedModel.
tf.keras.utils.get_custom_objects()[KerasOptimizer.__name__] = KerasOptimizer
