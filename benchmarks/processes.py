"""A function in a process of its own, where nothing is compiled or cached yet."""

import concurrent.futures
import importlib
import multiprocessing
from typing import Any


def alone(module: str, function: str, *arguments: Any) -> Any:
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(called, module, function, *arguments).result()


def called(module: str, function: str, *arguments: Any) -> Any:
    return getattr(importlib.import_module(module), function)(*arguments)
