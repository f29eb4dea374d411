"""Every bad call is refused where it is made, by name, rule and value."""

import fractions
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_cosine as oc

NAN, INF = math.nan, math.inf
RANGE = r"decay_steps must be from 1 to 2\*\*31 - 1 steps, got "
WHOLE = "decay_steps must be a whole number of steps, got "
FINITE = r" must be 0 or from 1\.2e-38 to 1\.7e38 in size, .*float32, got "
POSITIVE = r"exponent must be from 1\.2e-38 to 3\.4e38, .*float32 above 0, got "
NUMBER = " must be a number, got "

BAD_CALLS = [
    (ValueError, {"decay_steps": 0}, RANGE + r"0\."),
    (ValueError, {"decay_steps": -3}, RANGE + r"-3\."),
    (ValueError, {"decay_steps": -0.5}, RANGE + r"-0\.5\."),
    (ValueError, {"decay_steps": 2**31}, RANGE + r"2147483648\."),
    (ValueError, {"decay_steps": 10**5000}, RANGE + r"an int of 16610 bits"),
    (ValueError, {"decay_steps": NAN}, RANGE + r"nan\."),
    (ValueError, {"decay_steps": INF}, RANGE + r"inf\."),
    (ValueError, {"decay_steps": -INF}, RANGE + r"-inf\."),
    (ValueError, {"decay_steps": 10.5}, WHOLE + r"10\.5\."),
    (
        ValueError,
        {"decay_steps": fractions.Fraction(7, 2)},
        WHOLE + r"Fraction\(7, 2\)",
    ),
    (
        ValueError,
        {"decay_steps": 0.03},
        WHOLE + r"0\.03: .*round\(0\.03 \* total_steps\)",
    ),
    (ValueError, {"decay_steps": np.float32(0.5)}, WHOLE + r"0\.5: .*round\(0\.5 \* "),
    (ValueError, {"decay_steps": jnp.float32(2.5)}, WHOLE + r"2\.5\."),
    (ValueError, {"decay_steps": np.int64(2**40)}, RANGE + "1099511627776"),
    (ValueError, {"decay_steps": np.array([5])}, r"decay_steps .*\(1,\).*jax\.vmap"),
    (ValueError, {"decay_steps": jnp.arange(3)}, r"decay_steps .*\(3,\).*jax\.vmap"),
    (TypeError, {"decay_steps": True}, "decay_steps" + NUMBER + r"True\."),
    (TypeError, {"decay_steps": np.True_}, "decay_steps" + NUMBER + "one of bool"),
    (TypeError, {"decay_steps": jnp.bool(1)}, "decay_steps" + NUMBER + "one of bool"),
    (
        TypeError,
        {"decay_steps": jax.random.key(0)},
        "decay_steps" + NUMBER + "one of key",
    ),
    (TypeError, {"decay_steps": "100"}, "decay_steps" + NUMBER + r"'100'\."),
    (TypeError, {"decay_steps": None}, "decay_steps" + NUMBER + r"None\."),
    (TypeError, {"decay_steps": [100]}, "decay_steps" + NUMBER + r"\[100\]"),
    (TypeError, {"decay_steps": 5j}, "decay_steps" + NUMBER + "5j"),
    (ValueError, {"init_value": NAN}, "init_value" + FINITE + r"nan\."),
    (ValueError, {"init_value": INF}, "init_value" + FINITE + r"inf\."),
    (ValueError, {"init_value": 1e39}, "init_value" + FINITE + r"1e\+39\."),
    (ValueError, {"init_value": jnp.float32(NAN)}, "init_value" + FINITE + "nan"),
    (ValueError, {"init_value": jnp.bfloat16(INF)}, "init_value" + FINITE + "inf"),
    (ValueError, {"init_value": jnp.ones(2)}, r"init_value .*\(2,\).*jax\.vmap"),
    (ValueError, {"init_value": 1e-40}, "init_value" + FINITE + "1e-40"),
    (
        ValueError,
        {"init_value": 10**5000},
        "init_value" + FINITE + "an int of 16610 bits",
    ),
    (TypeError, {"init_value": False}, "init_value" + NUMBER + r"False\."),
    (TypeError, {"init_value": "0.1"}, "init_value" + NUMBER + r"'0\.1'"),
    (TypeError, {"init_value": np.complex64(1)}, "init_value" + NUMBER),
    (ValueError, {"end_value": NAN}, "end_value" + FINITE + r"nan\."),
    (ValueError, {"end_value": -INF}, "end_value" + FINITE + r"-inf\."),
    (TypeError, {"end_value": None}, "end_value" + NUMBER + r"None\."),
    (
        ValueError,
        {"end_value": 0.2},
        r"end_value=0\.2 is above init_value=0\.1; end_value",
    ),
    (
        ValueError,
        {"end_value": 0.1000001},
        "is a rate, not a ratio: .*0.1 . init_value",
    ),
    (ValueError, {"exponent": 0}, POSITIVE + r"0\."),
    (ValueError, {"exponent": -1.5}, POSITIVE + r"-1\.5\."),
    (ValueError, {"exponent": NAN}, POSITIVE + r"nan\."),
    (ValueError, {"exponent": INF}, POSITIVE + r"inf\."),
    (ValueError, {"exponent": 1e-60}, POSITIVE + r"1e-60\."),
    (TypeError, {"exponent": True}, "exponent" + NUMBER + r"True\."),
    (TypeError, {"exponent": "2"}, "exponent" + NUMBER + r"'2'\."),
]


@pytest.mark.parametrize(("error", "change", "message"), BAD_CALLS)
def test_a_bad_argument_is_refused_by_name_and_value(error, change, message):
    arguments = {"init_value": 0.1, "decay_steps": 10} | change
    with pytest.raises(error, match=message):
        oc.cosine_annealing_schedule(**arguments)


@pytest.mark.parametrize(("error", "change", "message"), BAD_CALLS[:5])
def test_concrete_arguments_are_checked_inside_jit_too(error, change, message):
    with pytest.raises(error, match=message):
        jax.jit(lambda rate: oc.cosine_annealing_schedule(rate, **change)(0))(0.1)


@pytest.mark.parametrize("value", [1j, True, np.complex64(1), np.True_])
@pytest.mark.parametrize("name", ["init_value", "decay_steps", "end_value", "exponent"])
def test_what_is_no_real_number_is_refused_even_when_traced(name, value):
    def build(value):
        arguments = {"init_value": 0.1, "decay_steps": 10} | {name: value}
        return oc.cosine_annealing_schedule(**arguments)(0)

    with pytest.raises(TypeError, match=f"{name} must be a number, got one of "):
        jax.jit(build)(value)


@pytest.mark.parametrize(
    "number", [10, 10.0, np.int8(10), np.float64(10), jnp.int32(10), jnp.bfloat16(10)]
)
def test_every_kind_of_real_number_is_welcome(number):
    schedule = oc.cosine_annealing_schedule(number, number, exponent=number)
    assert schedule(0) == 10
    assert schedule(10) == 0


@pytest.mark.parametrize("value", [0.1, 0.0, -0.1])
def test_a_constant_schedule_is_no_mistake(value):
    schedule = oc.cosine_annealing_schedule(value, 10, end_value=value)
    assert (schedule(jnp.arange(12)) == np.float32(value)).all()
