"""Slots of `LearnedOptimizer`: where they are made, and what they are called."""

import contextlib

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.ops import variable_scope


@contextlib.contextmanager
def scope_of_slots():
    """The caller's variable scope by its name, without its getter, regularizer, partitioner and what else it holds.

    Devices and creators of variables are left out too, except for the creators of a distribution strategy, which make
    slots for each replica.
    """
    graph, store = tf.get_default_graph(), variable_scope.get_variable_scope_store()
    caller = store.current_scope
    store.current_scope = tf.VariableScope(False, caller.name, name_scope=caller.original_name_scope)

    def creator(next_creator, **settings):
        if tf.distribute.has_strategy():
            return next_creator(**settings)
        return variable_scope.default_variable_creator(**settings)

    try:
        # A variable takes the devices that were in force when its graph was last entered.
        with tf.device(None), graph.as_default(), tf.variable_creator_scope(creator):
            yield
    finally:
        store.current_scope = caller


def sizes_of(shapes):
    """Shapes as tensors that the graph does not know: a dict from a shape, a tuple, to an int32 tensor.

    Of a shape that it knows, TensorFlow would compute what a slot begins with before it runs, and keep it for good.
    That is the memory of one slot.
    """
    return {
        shape: tf.placeholder_with_default(np.array(shape, np.int32), [len(shape)], name="size")
        for shape in sorted(set(map(tuple, shapes)))
    }


def make_slot(optimizer, variable, name, initializer, shape, dtype, place):
    """Makes a slot of a `tf.train.Optimizer`, to be called within `scope_of_slots`.

    Args:
      place: function of `(part, slot)`, for a variable that is a part of one, with its `SaveSliceInfo`: which part of a
        slot of the whole this one is, `(shape of the whole, offset, shape)`, so that `Saver` puts the parts together;
        None where it is no such part.
    """
    full_name = "%s_%s" % (optimizer.get_name(), name)
    slot = optimizer._get_or_make_slot_with_initializer(
        variable, initializer, tf.TensorShape(shape), dtype, name, full_name
    )
    part = getattr(variable, "_save_slice_info", None)
    if part is not None:
        found = place(part, slot)
        whole = None if found is None else tf.Variable.SaveSliceInfo(_name_of_whole(slot, variable), *found)
        slot._set_save_slice_info(whole)


def _name_of_whole(slot, variable):
    """What the slot of the whole variable is called, of which this one belongs to a part."""
    scope, _, name = slot.op.name.rpartition(variable.op.name + "/")
    return "%s%s/%s" % (scope, variable._save_slice_info.full_name, name)
