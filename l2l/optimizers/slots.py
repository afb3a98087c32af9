"""How `LearnedOptimizer` makes and names its slots."""

import contextlib

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.ops import variable_scope


@contextlib.contextmanager
def scope_of_slots():
    """Enters a variable scope with the name of the caller's scope and nothing else of it.

    The getter, regularizer and partitioner of that scope do not apply. Neither do devices and variable creators, except
    the creators of a distribution strategy, which make slots for each replica.
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
    """Returns shapes as tensors whose values the graph does not know: a dict from a shape, a tuple, to an int32 tensor.

    If it knew the shape, TensorFlow would compute the first value of a slot before it runs, and keep it forever. That
    would cost the memory of one slot.
    """
    return {
        shape: tf.placeholder_with_default(np.array(shape, np.int32), [len(shape)], name="size")
        for shape in sorted(set(map(tuple, shapes)))
    }


def make_slot(optimizer, variable, name, initializer, shape, dtype, place):
    """Makes a slot of a `tf.train.Optimizer`; call it within `scope_of_slots`.

    Args:
      place: function `(part, slot)` for parts of a partitioned variable, where `part` is the `SaveSliceInfo`. It
        returns which part of the whole variable's slot this one is, `(shape of the whole, offset, shape)`, so that
        `Saver` puts the parts together; or None if the slot is no such part.
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
    """Returns the name of the whole variable's slot; `slot` and `variable` are those of a part."""
    scope, _, name = slot.op.name.rpartition(variable.op.name + "/")
    return "%s%s/%s" % (scope, variable._save_slice_info.full_name, name)
