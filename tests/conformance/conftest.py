import importlib.util
import os
import sys
import types

# Before Keras starts, which reads it once.
os.environ["KERAS_BACKEND"] = "jax"


def _bare_package(name: str) -> types.ModuleType:
    """The package without its `__init__`, so that its submodules can be imported."""
    spec = importlib.util.find_spec(name)
    package = types.ModuleType(name)
    package.__path__ = spec.submodule_search_locations
    return package


# timm's `__init__` imports all its models and with them torchvision, whose released
# wheels do not load beside a CPU build of PyTorch. The schedulers need neither.
sys.modules["timm"] = _bare_package("timm")
