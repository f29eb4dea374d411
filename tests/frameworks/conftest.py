import os
import pathlib
import sys

import pytest

os.environ["KERAS_BACKEND"] = "jax"  # before Keras is imported

# A test imports the wrapper for Keras from its example.
EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES / "frameworks"))

pytest.register_assert_rewrite("contract")
