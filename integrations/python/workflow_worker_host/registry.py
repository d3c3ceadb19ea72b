"""Where handlers come from: a module with ``get_activity_handler`` or ``ACTIVITY_HANDLERS``."""

import contextlib
import importlib
import inspect
from collections.abc import Mapping

from . import calls

LOOKUP = "get_activity_handler"
TABLE = "ACTIVITY_HANDLERS"


class Registry:
    """The handlers of a module, by node type."""

    def __init__(self, lookup, types):
        self._lookup = lookup
        # None: the module does not say.
        self.types = types

    @classmethod
    def load(cls, module_name):
        """Imports the module. Raises ``ImportError`` or ``LookupError`` with a sentence."""
        module = importlib.import_module(module_name)
        table = getattr(module, TABLE, None)
        types = sorted(map(str, table)) if isinstance(table, Mapping) else None
        lookup = getattr(module, LOOKUP, None)
        if callable(lookup):
            return cls(lookup, types)
        if types is not None:
            return cls(table.get, types)
        raise LookupError(f"module {module_name} has neither {LOOKUP}() nor {TABLE}")

    def find(self, node_type):
        """The handler as something to call, or None. A handler is an object with ``execute``, or callable itself."""
        handler = self._lookup(node_type)
        if handler is None:
            return None
        if inspect.isclass(handler):
            handler = handler()
        execute = getattr(handler, "execute", None)
        if callable(execute):
            return execute
        if callable(handler):
            return handler
        raise calls.Problem(f"the handler of {node_type!r} has no execute() and cannot be called")


def load_session_factory(text):
    """``module:attribute`` as a function that gives a context manager of one session.

    The attribute is a function that returns a session, or a generator function that yields one, such as a FastAPI
    dependency.
    """
    module_name, separator, attribute = text.partition(":")
    if not separator or not attribute:
        raise LookupError(f"{text!r} is not module:attribute")
    factory = importlib.import_module(module_name)
    for part in attribute.split("."):
        factory = getattr(factory, part)
    if inspect.isgeneratorfunction(factory):
        return contextlib.contextmanager(factory)

    def open_session():
        session = factory()
        if hasattr(session, "__enter__"):
            return session
        return contextlib.closing(session)

    return open_session
