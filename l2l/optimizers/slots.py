"""Slots of `LearnedOptimizer`: where they are made, and what they are called."""

import contextlib

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


def name_of_whole(slot, variable):
    """What the slot of the whole variable is called, of which this one belongs to a part."""
    scope, name = slot.op.name.rsplit(variable.op.name + "/", 1)
    return "%s%s/%s" % (scope, variable._save_slice_info.full_name, name)
