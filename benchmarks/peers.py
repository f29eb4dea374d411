"""The peers, each as a plain function of what is compared."""

import importlib.util
import os
import sys
import types
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"  # before Keras starts, which reads it once


def keras_cosine(steps: int) -> Any:
    import keras

    return keras.optimizers.schedules.CosineDecay(1.0, steps)


def keras_restarts(first: int) -> Any:
    import keras

    return keras.optimizers.schedules.CosineDecayRestarts(1.0, first, t_mul=1.0)


def torch_step(steps: int) -> Any:
    """What moves a rate on by one update."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    # PyTorch warns if a scheduler is stepped before its optimizer.
    optimizer.step()
    return scheduler


def timm_cosine(steps: int) -> Any:
    """The schedule of timm, imported without its models, which need torchvision."""
    import torch

    if "timm" not in sys.modules:
        found = importlib.util.find_spec("timm")
        timm = types.ModuleType("timm")
        timm.__path__ = found.submodule_search_locations if found else []
        sys.modules["timm"] = timm
    from timm.scheduler import cosine_lr

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    return cosine_lr.CosineLRScheduler(optimizer, steps, t_in_epochs=False)
