"""What a scheduler of PyTorch does to its optimizer, update by update."""

from typing import Any

import numpy as np
import torch
from agreement import COUNTS


def sgd(rate: float, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate, **options)


def used(scheduler: Any, updates: int = COUNTS.size, name: str = "lr") -> np.ndarray:
    """What each of the updates uses, the scheduler being stepped after each."""
    (group,) = scheduler.optimizer.param_groups
    # PyTorch warns of a scheduler stepped before its optimizer. Once is enough, and
    # most of the time would go into it.
    scheduler.optimizer.step()
    values = [group[name]]
    for _ in range(updates - 1):
        scheduler.step()
        values.append(group[name])
    return np.array(values)
