"""Programs that are configured with Hydra, dataclasses, pydantic, or arguments."""

import copy
import dataclasses
import json
from typing import Annotated, Any

import draccus
import hydra
import jax.numpy as jnp
import jsonargparse
import numpy as np
import optax
import pydantic
import pytest
import tyro
from hydra.utils import instantiate
from omegaconf import OmegaConf

import optax_cosine as oc

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.usefixtures("standard_promotion"),
]

WARMUP = {"_target_": "optax_cosine.linear", "_args_": [0.0, 0.1], "steps": 10}
DECAY = {"_target_": "optax_cosine.cosine", "_args_": [0.1, 0.0], "steps": 90}
JOINED = {"_target_": "optax_cosine.join", "_args_": [WARMUP, DECAY]}

FILE = """\
peak_value: 0.1
warmup_steps: 10
total_steps: 100
schedule:
  _target_: optax_cosine.warmup_cosine_annealing_schedule
  peak_value: ${peak_value}
  total_steps: ${total_steps}
  warmup_steps: ${warmup_steps}
optimizer:
  _target_: optax_cosine.inject_schedules
  inner_factory:
    _target_: hydra.utils.get_method
    path: optax.adamw
"""


def decay() -> oc.Schedule:
    return oc.cosine(0.1, 0.0, steps=90)


def joined() -> oc.Schedule:
    return oc.join(oc.linear(0.0, 0.1, steps=10), decay())


# A table, and the two combinations that stay expressions.
SCHEDULES = pytest.mark.parametrize(
    "schedule",
    [joined(), joined() * decay(), oc.staircase(joined(), 10)],
    ids=["table", "product", "staircase"],
)


def check_whole(found: Any, schedule: oc.Schedule) -> None:
    assert type(found) is type(schedule)
    assert found == schedule
    assert found(55) == schedule(55)


@pytest.mark.parametrize("create", [dict, OmegaConf.create])
def test_hydra_builds_a_schedule_of_a_list_of_nodes(create):
    check_whole(instantiate(create(JOINED)), joined())


def test_hydra_builds_schedules_in_a_list():
    first, second = instantiate([JOINED, DECAY])
    check_whole(first, joined())
    check_whole(second, decay())


def test_hydra_builds_a_schedule_in_a_nested_dict():
    config = instantiate({"schedule": DECAY, "optimizer": {"schedule": JOINED}})
    assert config["schedule"](5) == decay()(5)
    check_whole(config["schedule"], decay())
    check_whole(config.optimizer.schedule, joined())


def test_hydra_passes_a_schedule_by_keyword():
    node = {"_target_": "optax_cosine.shift", "schedule": JOINED, "steps": 1}
    check_whole(instantiate(node), oc.shift(joined(), 1))


def test_hydra_passes_schedules_in_a_list_by_keyword():
    node = {"_target_": "optax_cosine.stack", "schedules": [DECAY, DECAY]}
    check_stack(instantiate(node))


def test_hydra_passes_schedules_in_a_list_by_position():
    node = {"_target_": "optax_cosine.stack", "_args_": [[DECAY, DECAY]]}
    check_stack(instantiate(node))


def check_stack(found: Any) -> None:
    assert found == oc.stack([decay(), decay()])


@SCHEDULES
@pytest.mark.parametrize("convert", ["none", "partial", "object", "all"])
def test_hydra_passes_a_schedule_that_the_program_built(schedule, convert):
    node = {"_target_": "builtins.dict", "_convert_": convert}
    check_whole(instantiate(node, schedule=schedule)["schedule"], schedule)


def test_hydra_completes_a_builder_later():
    node = {"_target_": "optax_cosine.cosine", "_partial_": True, "steps": 90}
    check_whole(instantiate(node)(0.1, 0.0), decay())


def test_hydra_completes_an_optimizer_with_a_schedule_later():
    node = {"_target_": "optax.sgd", "_partial_": True, "learning_rate": JOINED}
    tx = instantiate(node)(momentum=0.9)
    reference = optax.sgd(joined(), momentum=0.9)
    np.testing.assert_array_equal(last_update(tx), last_update(reference))


def last_update(tx: Any) -> np.ndarray:
    params = updates = jnp.ones(3)
    state = tx.init(params)
    for _ in range(5):
        updates, state = tx.update(params, state, params)
    return np.asarray(updates)


def test_hydra_configures_a_program_from_a_file(tmp_path):
    (tmp_path / "config.yaml").write_text(FILE)
    with hydra.initialize_config_dir(str(tmp_path), version_base=None):
        config = instantiate(hydra.compose("config", ["total_steps=200"]))
    schedule = oc.warmup_cosine_annealing_schedule(0.1, 200, warmup_steps=10)
    check_whole(config.schedule, schedule)
    tx = config.optimizer(learning_rate=config.schedule)
    state = tx.init(jnp.ones(3))
    assert oc.get_schedules(state)["learning_rate"] == schedule


@SCHEDULES
def test_omegaconf_holds_a_schedule(schedule):
    config = OmegaConf.create({"runs": [{}]}, flags={"allow_objects": True})
    config.runs[0].schedule = schedule
    check_whole(config.runs[0].schedule, schedule)
    check_whole(copy.deepcopy(config).runs[0].schedule, schedule)
    merged = OmegaConf.merge(config, {"epochs": 3})
    check_whole(merged.runs[0].schedule, schedule)
    check_whole(OmegaConf.to_container(config)["runs"][0]["schedule"], schedule)


@dataclasses.dataclass(frozen=True)
class Config:
    schedule: oc.Schedule = dataclasses.field(default_factory=joined)
    epochs: int = 3


@dataclasses.dataclass(frozen=True)
class Configs:
    runs: list[Config]


def test_a_schedule_is_not_a_dataclass():
    assert not dataclasses.is_dataclass(oc.Schedule)
    assert not dataclasses.is_dataclass(joined())


@SCHEDULES
def test_asdict_and_astuple_keep_a_schedule_whole(schedule):
    config = Config(schedule)
    check_whole(dataclasses.asdict(config)["schedule"], schedule)
    check_whole(dataclasses.astuple(config)[0], schedule)
    (run,) = dataclasses.asdict(Configs([config]))["runs"]
    check_whole(run["schedule"], schedule)


def test_a_dataclass_with_a_schedule_is_compared_hashed_and_replaced():
    config = Config(joined())
    assert config == Config(joined())
    assert config != Config(decay())
    assert hash(config) == hash(Config(joined()))
    check_whole(dataclasses.replace(config, epochs=4).schedule, joined())


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    schedule: oc.Schedule
    epochs: int = 3


class Models(pydantic.BaseModel):
    runs: list[Model]


@SCHEDULES
def test_pydantic_keeps_a_schedule_whole(schedule):
    model = Model(schedule=schedule)
    assert model.schedule is schedule
    check_whole(model.model_dump()["schedule"], schedule)
    check_whole(model.model_copy(deep=True).schedule, schedule)
    check_whole(Model.model_validate(model.model_dump()).schedule, schedule)
    assert model == Model(schedule=copy.deepcopy(schedule))


def test_pydantic_keeps_schedules_of_nested_models_whole():
    models = Models(runs=[Model(schedule=joined())])
    (run,) = models.model_dump()["runs"]
    check_whole(run["schedule"], joined())


def test_pydantic_refuses_what_is_not_a_schedule():
    with pytest.raises(pydantic.ValidationError, match="instance of Schedule"):
        Model(schedule=0.1)


def read(value: Any) -> Any:
    return oc.Schedule.from_dict(value) if isinstance(value, dict) else value


class Saved(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    schedule: Annotated[
        oc.Schedule,
        pydantic.PlainSerializer(oc.Schedule.to_dict),
        pydantic.BeforeValidator(read),
    ]


@SCHEDULES
def test_pydantic_saves_a_schedule_as_json(schedule):
    text = Saved(schedule=schedule).model_dump_json()
    assert json.loads(text) == {"schedule": schedule.to_dict()}
    check_whole(Saved.model_validate_json(text).schedule, schedule)


def test_draccus_keeps_the_schedule_of_a_default():
    config = draccus.parse(Config, args=["--epochs", "4"])
    assert config == Config(joined(), epochs=4)


@SCHEDULES
def test_draccus_saves_a_schedule(schedule):
    draccus.encode.register(
        oc.Schedule, lambda value, _=None: value.to_dict(), include_subclasses=True
    )
    draccus.decode.register(oc.Schedule, lambda raw, _: oc.Schedule.from_dict(raw))
    config = Config(schedule)
    loaded = draccus.loads(Config, draccus.dump(config))
    assert loaded == config
    check_whole(loaded.schedule, schedule)


@SCHEDULES
def test_tyro_keeps_the_schedule_of_a_default(schedule):
    config = tyro.cli(Config, args=["--epochs", "4"], default=Config(schedule))
    assert config == Config(schedule, epochs=4)
    check_whole(config.schedule, schedule)


def test_jsonargparse_keeps_the_schedule_of_a_default():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Config, "run")
    run = parser.parse_args(["--run.epochs=4"]).run
    check_whole(run.schedule, joined())
    assert Config(**run.as_dict()) == Config(joined(), epochs=4)


def test_jsonargparse_reads_the_arguments_of_a_builder():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(oc.warmup_cosine_annealing_schedule, "schedule")
    arguments = [
        "--schedule.peak_value=0.1",
        "--schedule.total_steps=100",
        "--schedule.warmup_steps=10",
    ]
    options = parser.parse_args(arguments).schedule.as_dict()
    check_whole(
        oc.warmup_cosine_annealing_schedule(**options),
        oc.warmup_cosine_annealing_schedule(0.1, 100, warmup_steps=10),
    )
