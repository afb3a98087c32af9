"""Descriptions of objects in JSON types, by which two trainings are compared.

Values are described by their content: arrays by a checksum, the user's functions and classes by a digest of their code,
other objects by their class and public attributes. An object may describe itself in a method `description()`. A value
that cannot be described is refused, since two different ones would look alike.
"""

import contextlib
import copyreg
import enum
import functools
import json
import os
import pathlib
import sys
import types
import zlib

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.eager import def_function

from l2l.bytecode import digest, instructions

_DEEPEST = 60  # levels of a nested value
_MOST = 200_000  # values in it, numbers and strings aside
_HEAP_TYPE = 1 << 9  # of a class's flags: a statement made it, or a call of `type`

_PLAIN = (type(None), bool, int, float, str)
_WRAPPERS = (classmethod, staticmethod)
_DESCRIPTORS = (property, *_WRAPPERS)
_BUILT_IN = (types.BuiltinFunctionType, type(str.join), type(object.__init__), type("".__str__), np.ufunc)
_cached = functools.lru_cache()(len)
_OF_GRAPHS = (tf.Tensor, tf.Variable, tf.Operation, tf.Graph, tf.SparseTensor, tf.IndexedSlices)


def describe(name, value):
    """Describes a value in JSON types, in the same way in every process.

    Args:
      name: for error messages.
      value: numbers, strings, arrays, containers, functions, classes, tables of pandas, matrices of SciPy, and objects
        that have a `description()` or are described by their public attributes.

    Raises:
      TypeError: something in it cannot be described, such as a lock or a tensor; and what.
    """
    try:
        return _Description().of(value, name)
    except _UnknownError as error:
        raise TypeError(str(error)) from None


def describe_code(value):
    """Describes the code of an object that may hold variables, such as an optimizer.

    Variables count by dtype and shape, and values that cannot be described by their class.

    Returns:
      `{"class": or "function": its name, "code": digest}`, or None if the object is the library's.
    """
    described = _Description(tolerant=True).of(value, "")
    if not isinstance(described, dict) or "code" not in described:
        return None
    kind = "function" if "function" in described else "class"
    return {kind: described[kind], "code": digest(without_names(described))}


def without_names(described):
    """Returns a description without the names of functions that have a digest: the same function may have two."""
    if isinstance(described, list):
        return [without_names(one) for one in described]
    if isinstance(described, dict):
        unnamed = {"function"} if "code" in described else set()
        return {key: without_names(one) for key, one in described.items() if key not in unnamed}
    return described


def without_code(described):
    """Returns a description without digests of code."""

    def hook(one):
        return {key: value for key, value in one.items() if not is_digest(one, key)}

    return json.loads(json.dumps(described), object_hook=hook)


def digests_in(described):
    """Returns all digests of code in a description, a list."""
    if isinstance(described, list):
        return [found for one in described for found in digests_in(one)]
    if not isinstance(described, dict):
        return []
    return [
        found
        for key, one in sorted(described.items())
        for found in ([one] if is_digest(described, key) else digests_in(one))
    ]


def is_digest(described, key):
    """Whether the entry of a dict in a description is a digest of code."""
    return (
        key == "code"
        and isinstance(described, dict)
        and key in described
        and bool({"class", "function"} & {*described})
    )


def same(one, other):
    """Whether two values of JSON types are the same: NaN is like NaN, 1 like 1.0 and not like True."""
    texts = [_text(json.loads(json.dumps(value), parse_int=_as_float)) for value in (one, other)]
    return texts[0] == texts[1]


def _as_float(digits):
    return float(digits) if len(digits) < 16 else int(digits)  # as far as floats are exact


def _text(described):
    return json.dumps(described, sort_keys=True)


class _UnknownError(Exception):
    """Something that cannot be described."""


class _Description:
    """Describes one value. It keeps track of the values that contain the current one, so that a cycle ends.

    Args:
      tolerant: whether variables and tensors count by dtype and shape, and values that cannot be described by their
        class.
    """

    def __init__(self, tolerant=False):
        self._tolerant, self._above = tolerant, []
        self._number = 0  # of values so far
        self._again = 0  # how often a value was met below itself
        self._known = {}  # by identity: value, description and number of values, where no such thing is in it

    def of(self, value, where):
        if type(value) in _PLAIN:
            return value
        for distance, above in enumerate(reversed(self._above)):
            if above is value:
                self._again += 1
                return {"above": distance + 1}
        if len(self._above) > _DEEPEST:
            raise _UnknownError("%s must be nested less deeply than %d levels" % (where, _DEEPEST))
        _, described, number = self._known.get(id(value), (None, None, 1))
        self._number += number
        if self._number > _MOST:
            raise _UnknownError("%s must hold fewer than %d values" % (where, _MOST))
        if described is not None:
            return described
        first, again = self._number, self._again
        self._above.append(value)
        try:
            described = self._of(value, where)
        except _UnknownError:
            if not self._tolerant:
                raise
            described = {"class": _full_name(type(value))}
        finally:
            self._above.pop()
        if self._again == again:
            self._known[id(value)] = value, described, self._number - first + 1
        return described

    def _of(self, value, where):
        if isinstance(value, tf.DType):
            return value.name
        if isinstance(value, np.generic) and type(value.item()) in _PLAIN:
            return value.item()
        if isinstance(value, (np.ndarray, np.generic)):
            return self._array(value, where)
        if isinstance(value, _OF_GRAPHS):
            return self._of_graph(value, where)
        if isinstance(value, types.ModuleType):
            return {"module": value.__name__}
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, (types.FunctionType, types.MethodType, functools.partial, *_BUILT_IN)):
            return self._function(value, where)
        if isinstance(value, property):
            return [self.of(one, where) for one in (value.fget, value.fset)]
        if isinstance(value, _WRAPPERS):
            return self.of(value.__func__, where)
        if isinstance(value, (type(_cached), def_function.Function)):
            return self.of(value.__wrapped__ if hasattr(value, "__wrapped__") else value.python_function, where)
        if isinstance(value, enum.Enum):
            return {**self._class(type(value)), "member": value.name, "value": self.of(value.value, where)}
        if isinstance(value, pathlib.PurePath):
            return {"path": str(value)}
        if type(value) in (bytes, bytearray):
            return {"bytes": len(value), "checksum": "%08x" % zlib.crc32(value)}
        if type(value) in (list, tuple):
            return [self.of(one, "%s[%d]" % (where, i)) for i, one in enumerate(value)]
        if type(value) in (dict, types.MappingProxyType):
            return self._dict(value, where)
        if type(value) in (set, frozenset):
            return {"set": sorted((self.of(one, where) for one in value), key=_text)}
        return self._object(value, where)

    def _dict(self, value, where):
        items = [(key, self.of(one, "%s[%r]" % (where, key))) for key, one in value.items()]
        if all(isinstance(key, str) for key in value):
            return {str(key): one for key, one in items}
        return {"items": sorted(([self.of(key, where), one] for key, one in items), key=_text)}

    def _named(self, values, place):
        """A dict of named values, each in its `place(name)`.

        Of those whose name begins with an underscore constants, arrays and functions count; others may be caches.
        """
        described = {}
        for name, value in values.items():
            if not name.startswith("_"):
                described[name] = self.of(value, place(name))
            elif _is_constant(value) or callable(value) or isinstance(value, _DESCRIPTORS):
                with contextlib.suppress(_UnknownError):
                    described[name] = self.of(value, place(name))
        return described

    def _array(self, value, where):
        array = np.asarray(value)
        if array.dtype.hasobject:
            content = digest(without_names([self.of(one, where) for one in array.ravel().tolist()]))
        else:
            content = "%08x" % zlib.crc32(np.ascontiguousarray(array).tobytes())
        dtype = array.dtype.name if array.dtype.fields is None else str(array.dtype)
        text = "%s %s, checksum %s" % (dtype, list(array.shape), content)
        if isinstance(value, np.ma.MaskedArray):
            return {"masked": text, "mask": self.of(np.ma.getmaskarray(value), where)}
        if _is_own(type(value)):
            return {**self._class(type(value)), "array": text, "parameters": self._attributes(value, where)}
        return text

    def _of_graph(self, value, where):
        if not self._tolerant:
            raise _unknown(where, value)
        shape = value.shape if isinstance(value, (tf.Tensor, tf.Variable)) else None
        return [type(value).__name__, getattr(getattr(value, "dtype", None), "name", None), str(shape)]

    def _function(self, value, where):
        if isinstance(value, functools.partial):
            arguments = {"arguments": self.of(list(value.args), where), "keywords": self.of(value.keywords, where)}
            return {"partial": self.of(value.func, where), **arguments}
        if isinstance(value, types.MethodType):
            function = self.of(value.__func__, where)
            return {**function, "self": self.of(value.__self__, "the object of %s" % where)}
        if _is_named(value):
            return {"function": _full_name(value)}
        if isinstance(value, types.FunctionType):
            return self._typed(value, where)
        owner = getattr(value, "__self__", None)  # a method of a built-in class: its object counts
        if owner is None or isinstance(owner, types.ModuleType):
            raise _unknown(where, value)
        return {"function": value.__name__, "self": self.of(owner, "the object of %s" % where)}

    def _typed(self, function, where):
        code = function.__code__
        arguments = code.co_varnames[: code.co_argcount]
        values = function.__defaults__ or ()  # of the last arguments
        defaults = dict(zip(arguments[len(arguments) - len(values) :], values))
        defaults.update(function.__kwdefaults__ or {})
        defaults = self._named(defaults, lambda name: "argument %s of %s" % (name, where))
        closure = {}
        for name, cell in zip(code.co_freevars, function.__closure__ or ()):
            with contextlib.suppress(ValueError):  # it is not set yet
                closure[name] = cell.cell_contents
        parts = {
            "closure": self._named(closure, lambda name: "variable %s of %s" % (name, where)),
            "attributes": self._public(vars(function), where),
        }
        return {
            "function": _short_name(function),
            "code": digest([instructions(code), without_names(defaults)]),
            **{key: part for key, part in parts.items() if part},
        }

    def _class(self, kind):
        if not _is_own(kind):
            return {"class": _full_name(kind)}
        parts = [self.of(type(kind), "the class of %s" % _short_name(kind))] if _is_own(type(kind)) else []
        for one in kind.__mro__:
            if _is_own(one):
                members = {name: member for name, member in vars(one).items() if _counts(name, member)}
                place = functools.partial("{}.{}".format, _short_name(one))
                parts.append(sorted(self._named(members, place).items()))
            else:
                parts.append(_full_name(one))
        return {"class": _short_name(kind), "code": digest(without_names(parts))}

    def _object(self, value, where):
        kind, described = type(value), self._class(type(value))
        is_own, is_ours = _is_own(kind), _is_within(kind.__module__, "l2l")
        says = getattr(kind, "description", None)  # the class's: an object may pass on the method of another
        if (is_own or is_ours) and callable(says):
            said = description_of(value)
            if not is_own:
                return said
            described["description"] = said
            if not _is_within(getattr(says, "__module__", None), "l2l"):
                return described  # else the library's method does not know what a subclass adds
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return {**described, "parameters": self._public(dict(zip(value._fields, value)), where)}
        if is_own or is_ours:
            described["parameters"] = self._attributes(value, where)
            content = self._inherited(value, where) if is_own else None
        elif self._tolerant:
            content = None
        else:
            content = self._content(value, where) or self._pickled(value, where)
        return described if content is None else {**described, "content": digest(without_names(content))}

    def _public(self, values, where):
        return {name: self.of(one, "%s.%s" % (where, name)) for name, one in values.items() if not name.startswith("_")}

    def _attributes(self, value, where):
        """The public attributes of an object, and its `data` where that is the class's."""
        attributes = dict(getattr(value, "__dict__", {}))
        for one in type(value).__mro__:
            slots = vars(one).get("__slots__", ())
            for name in [slots] if isinstance(slots, str) else slots:
                if hasattr(value, name):
                    attributes.setdefault(name, getattr(value, name))
        if not isinstance(value, np.ndarray) and getattr(type(value), "data", None) is not None:
            attributes["data"] = value.data
        return self._public(dict(sorted(attributes.items())), where)

    def _inherited(self, value, where):
        """What an object of the user's has from a class of Python's or another library, such as a list; or None."""
        parts = _reduced(value)
        if parts is None:
            return None
        _, arguments, state, items, pairs = parts
        states = state if isinstance(state, tuple) else [state]
        if all(one is None or isinstance(one, dict) for one in states):
            state = None  # attributes: only the public ones count
        content = [self.of(one, where) for one in (arguments, state, items, pairs)]
        return content if any(content) else None

    def _content(self, value, where):
        """What a table, a sparse matrix or a configured object of another library holds, in JSON types; else None."""
        kind = type(value)  # ask the class for methods, since an object may seem to have any
        if _is_within(kind.__module__, "pandas"):
            if hasattr(value, "columns"):
                columns = [value.iloc[:, i] for i in range(value.shape[1])]
                return [self._content(one, where) for one in [value.columns, value.index, *columns]]
            if hasattr(value, "__array__"):
                content = [str(value.dtype), self.of(getattr(value, "name", None), where)]
                index = [] if not hasattr(value, "iloc") else [self.of(value.index, where)]
                categories = getattr(value.dtype, "categories", None)
                index += [] if categories is None else [self._content(categories, where)]
                return [*content, self.of(np.asarray(value), where), *index]
        if callable(getattr(kind, "tocsr", None)):
            rows = value.tocsr(copy=True)
            rows.sum_duplicates()
            return [list(rows.shape), *[self.of(one, where) for one in (rows.indptr, rows.indices, rows.data)]]
        if callable(getattr(kind, "get_config", None)):  # Keras
            if getattr(value, "weights", None):
                raise _unknown(where, value)
            try:
                config = value.get_config()
            except NotImplementedError:
                raise _unknown(where, value) from None
            # It only names functions and initializers, which are attributes under the same names.
            own = {key: getattr(value, key, None) for key in config}
            config = {key: own[key] if callable(own[key]) else one for key, one in config.items()}
            return self.of({key: one for key, one in config.items() if key != "name"}, where)
        return None

    def _pickled(self, value, where):
        """What pickle would keep of an object of another library, in JSON types."""
        parts = _reduced(value)
        if parts is None:
            raise _unknown(where, value)
        return [self.of(one, where) for one in parts]


def description_of(value):
    """Returns `value.description()` as JSON gives it back; None for an object without one.

    Raises:
      TypeError: it returns something else than JSON types.
    """
    if not callable(getattr(value, "description", None)):
        return None
    said = value.description()
    try:
        return json.loads(json.dumps(said))
    except (TypeError, ValueError) as error:
        raise TypeError("description of %s must return JSON types: %s" % (type(value).__name__, error)) from None


def _unknown(where, value):
    return _UnknownError(
        "%s must be something that the record of a training can tell from others, got %.200r; give its class a method "
        "description(), or keep it under a name that begins with an underscore if it is no parameter" % (where, value)
    )


def _reduced(value):
    """What makes an object again, `[function, arguments, state, items, pairs]`; None where that cannot be had."""
    reduce = copyreg.dispatch_table.get(type(value))
    try:
        parts = value.__reduce_ex__(2) if reduce is None else reduce(value)
    except Exception:
        return None
    if isinstance(parts, str):  # the name of a constant
        return [parts, [], None, [], []]
    function, arguments, state, items, pairs = (*parts, None, None, None)[:5]
    if function is copyreg.__newobj__:
        function, arguments = None, arguments[1:]
    return [function, list(arguments), state, list(items or ()), [list(pair) for pair in pairs or ()]]


def _is_within(module, package):
    return str(module).split(".")[0] == package


def _is_own(kind):
    """Whether a class is the user's own; of one that `exec` made without a `__name__` the module is `builtins`."""
    module = kind.__module__
    return _is_own_module(module) or (module in (None, "builtins") and bool(kind.__flags__ & _HEAP_TYPE))


def _is_own_module(module):
    """Whether a module is the user's own: neither this library nor installed, nor a part of Python."""
    if module == "__main__":
        return True
    if module is None or _is_within(module, "l2l") or module in sys.builtin_module_names:
        return False
    path = getattr(sys.modules.get(module), "__file__", None)
    if path is None:
        return not module.startswith("_frozen")
    folders = os.path.abspath(path).split(os.sep)
    is_installed = "site-packages" in folders or "dist-packages" in folders
    return not is_installed and not os.path.abspath(path).startswith(os.path.dirname(os.__file__) + os.sep)


def _is_named(function):
    """Whether a function that is not the user's own can be found under its name."""
    module = getattr(function, "__module__", None)
    if isinstance(function, np.ufunc):
        return getattr(np, function.__name__, None) is function
    if module is None:  # a method of a built-in class
        return hasattr(function, "__objclass__")
    found = sys.modules.get(module)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is function and not _is_own_module(module)


def _full_name(value):
    """The name under which a value is found: for the library's values the one that users write."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None) or value.__name__
    return name if module in (None, "builtins") or _is_within(module, "l2l") else "%s.%s" % (module, name)


def _short_name(value):
    return value.__qualname__.split("<locals>.")[-1]


def _is_constant(value):
    if isinstance(value, (tuple, frozenset)):
        return all(map(_is_constant, value))
    return isinstance(value, (*_PLAIN, bytes, complex, np.ndarray, np.generic))


def _counts(name, member):
    """Whether a member of a class says something of its code: not what Python or the making of the class puts there."""
    if isinstance(member, (types.MemberDescriptorType, types.GetSetDescriptorType)):
        return False
    is_special = name.startswith("__") and name.endswith("__")
    return not is_special or isinstance(member, (types.FunctionType, *_DESCRIPTORS))
