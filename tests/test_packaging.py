"""What the metadata, the workflows and the hooks say is true of the project."""

import ast
import pathlib
import re
import sys
import tomllib
from typing import Any

import pytest

import optax_cosine as oc

ROOT = pathlib.Path(__file__).parent.parent
METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = METADATA["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
GROUPS: dict[str, list[Any]] = METADATA["dependency-groups"]
CI = (ROOT / ".ci" / "run").read_text()
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
# The module of a package, if its name differs.
MODULES = {
    "orbax-checkpoint": "orbax",
    "scikit-learn": "sklearn",
    "hydra-core": "hydra",
    "myst-parser": "myst_parser",
}
# What these packages need themselves, and JAX and Optax are needed always.
ALWAYS = {"jax", "numpy", "optax", "optax_cosine"}


def test_the_version_stands_in_one_place():
    assert "version" in PROJECT["dynamic"]
    assert METADATA["tool"]["hatch"]["version"]["path"] == "optax_cosine/__init__.py"
    # Not from the root: the wheel is tested away from the source.
    source = pathlib.Path(oc.__file__).read_text()
    assert f'__version__ = "{oc.__version__}"' in source


def test_the_citation_has_the_version_of_the_package():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [oc.__version__]


def test_two_packages_are_needed_at_run_time():
    needed = [re.split(r"[^\w-]", line)[0] for line in PROJECT["dependencies"]]
    assert needed == ["jax", "optax"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_users_install_has_floors_and_no_caps(extra):
    for line in [*PROJECT["dependencies"], *EXTRAS[extra]]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+|optax-cosine\[[\w,]+\]", line)


def declared(name: str) -> set[str]:
    """The modules of an extra or of a group, and of what they include."""
    modules: set[str] = set()
    for line in [*EXTRAS.get(name, []), *GROUPS.get(name, [])]:
        if isinstance(line, dict):
            modules |= declared(line["include-group"])
        elif line.startswith("optax-cosine["):
            for inner in re.findall(r"\w+", line.partition("[")[2]):
                modules |= declared(inner)
        else:
            package = re.split(r"[^\w-]", line)[0]
            modules.add(MODULES.get(package, package.replace("-", "_")))
    return modules


def imported(path: pathlib.Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names


# Folders, and the extras and groups with which they are run.
FOLDERS = {
    "tests": ["test", "examples"],
    "tests/frameworks": ["test", "frameworks"],
    "tests/site": ["test", "site"],
    "tests/conformance": ["test", "conformance"],
    "examples": ["examples", "frameworks"],
    "examples/frameworks": ["frameworks"],
    "benchmarks": ["benchmarks"],
    "docs": ["docs"],
}
# CI says how to install them: only their schedules are run.
WITHOUT_DEPENDENCIES = {"timm", "transformers", "omegaconf"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_everything_that_is_imported_is_declared(folder):
    known = ALWAYS | WITHOUT_DEPENDENCIES | {"benchmarks"}
    for name in FOLDERS[folder]:
        known |= declared(name)
    for near in ("tests", "examples", "examples/frameworks", folder):
        known |= {path.stem for path in (ROOT / near).glob("*.py")}
    files = sorted((ROOT / folder).glob("*.py"))
    assert files
    for path in files:
        assert imported(path) <= known, path


def test_every_supported_python_is_tested_with_the_newest_jax():
    pythons = re.findall(r":: (3\.\d+)'", str(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    (matrix,) = re.findall(r"^ +python: \[(.*)\]$", WORKFLOW, re.MULTILINE)
    assert re.findall(r"[\d.]+", matrix) == pythons


def test_ci_runs_the_lines_of_the_readme():
    readme = (ROOT / "README.md").read_text()
    lines = re.findall(r"^python -m pip install .* && python .*$", readme, re.MULTILINE)
    (main_job, *_) = [line for line in lines if " && python examples/" in line]
    (tests,) = [line for line in lines if line.endswith(" && python -m pytest")]
    assert main_job != tests
    assert 'eval "$main_job --steps' in CI
    assert CI.count('eval "$tests"') == 1
    assert (
        'bash .ci/debian trixie "$work/trixie" "$main_job --steps 60 && $tests"' in CI
    )


def test_ci_lints_first_with_the_hooks_that_contributors_have():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    # A hook from elsewhere would have to be downloaded, and its version kept.
    assert re.findall(r"repo: (.*)", hooks) == ["local"]
    assert set(re.findall(r"language: (.*)", hooks)) == {"system"}
    assert "pre-commit run --all-files" in CI
    assert re.findall(r"^(?:start|step) (\w+)", CI, re.MULTILINE)[0] == "lint"
    assert WORKFLOW.index("pre-commit run --all-files") < WORKFLOW.index("bash .ci/run")


PYTEST = METADATA["tool"]["pytest"]["ini_options"]
MARKERS = [line.partition(":")[0] for line in PYTEST["markers"]]


@pytest.mark.parametrize("marker", MARKERS)
def test_what_the_default_suite_leaves_out_is_run_by_ci(marker):
    (selected,) = [option for option in PYTEST["addopts"] if option.startswith("-m=")]
    assert f"not {marker}" in selected
    assert f"-m {marker}" in CI
