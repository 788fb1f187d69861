"""Finding the app that a command names: `package.module:app`."""

from __future__ import annotations

import importlib
import os
import sys

from pgq.app import App
from pgq.errors import ConfigError


def load_app(path: str) -> App:
    """Import `module:attribute` (`:app` when left out) and return the App there, the current directory included.

    Raises ConfigError that says what is missing.
    """
    module_name, _, attribute = path.partition(":")
    attribute = attribute or "app"
    if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds strings
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(f"no module {module_name!r} for the app {path!r}") from None
    found = getattr(module, attribute, None)
    if not isinstance(found, App):
        raise ConfigError(f"{module_name!r} has no pgq.App named {attribute!r}")
    found.path = f"{module_name}:{attribute}"
    return found
