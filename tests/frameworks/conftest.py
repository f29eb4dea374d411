import os
import pathlib
import sys

import pytest

os.environ["KERAS_BACKEND"] = "jax"  # before Keras is imported

# The programs are imported too, and find each other as scripts of one folder do.
EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
sys.path[:0] = [str(EXAMPLES), str(EXAMPLES / "frameworks")]

pytest.register_assert_rewrite("contract")
