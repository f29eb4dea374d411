import os
import pathlib
import sys

import pytest

os.environ["KERAS_BACKEND"] = "jax"  # before Keras is imported

# The adapter for Keras is tested where it is shown.
EXAMPLES = pathlib.Path(__file__).parents[2] / "examples" / "frameworks"
sys.path.insert(0, str(EXAMPLES))

pytest.register_assert_rewrite("contract")
