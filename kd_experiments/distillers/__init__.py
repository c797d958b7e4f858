"""How is it taught? One file a method: a pure loss function and a small class. Every file here is found by itself."""

import importlib
import pkgutil

from kd_experiments.distillers.base import DISTILLERS as DISTILLERS

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
