import importlib.util
import os
import sys
import types

# Before Keras starts, which reads it once.
os.environ["KERAS_BACKEND"] = "jax"

# timm's `__init__` imports all its models and with them torchvision, whose released
# wheels do not load beside a CPU build of PyTorch. The schedulers need neither, so
# they are imported from the package without its `__init__`.
if spec := importlib.util.find_spec("timm"):
    timm = types.ModuleType("timm")
    timm.__path__ = spec.submodule_search_locations
    sys.modules["timm"] = timm
