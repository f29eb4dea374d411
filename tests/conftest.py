import os

# Before JAX starts: eight devices where the platform is CPU, for pmap and sharding.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import hypothesis
import jax
import pytest

hypothesis.settings.register_profile("seeded", derandomize=True, deadline=None)
hypothesis.settings.load_profile("seeded")


@pytest.fixture(autouse=True, scope="module")
def strict_promotion():
    """In tests alone: examples in docstrings and pages are run as users run them."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def x64():
    jax.config.update("jax_enable_x64", val=True)
    yield
    jax.config.update("jax_enable_x64", val=False)


@pytest.fixture
def standard_promotion():
    """Optax's own functions do not run under strict promotion."""
    with jax.numpy_dtype_promotion("standard"):
        yield
