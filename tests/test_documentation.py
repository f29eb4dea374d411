"""What the README and the metadata say is what the project does."""

import ast
import doctest
import inspect
import operator
import pathlib
import re
import tomllib

import pytest

import optax_cosine as oc

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def quick_start() -> list[str]:
    section = README.partition("## Quick start\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_the_quick_start_is_two_lines_the_main_job_and_the_tests():
    assert quick_start() == [
        'python -m pip install ".[examples]" && python examples/train_digits.py\n',
        'python -m pip install ".[test]" && python -m pytest\n',
    ]


def test_the_quick_start_names_files_and_extras_that_exist():
    for command in quick_start():
        for path in re.findall(r"\S+\.py", command):
            assert (ROOT / path).is_file()
        for extra in re.findall(r"\.\[(\w+)\]", command):
            assert extra in PROJECT["optional-dependencies"]


def test_the_readme_names_the_supported_versions_and_dependencies():
    pythons = re.findall(r":: (3\.\d+)'", str(PROJECT["classifiers"]))
    (first, last) = re.findall(r"Python (3\.\d+) to (3\.\d+)", README)[0]
    assert first == pythons[0]
    assert last in pythons
    needed = [re.split(r"[^\w-]", line)[0] for line in PROJECT["dependencies"]]
    assert f"needs only `{needed[0]}` and `{needed[1]}`" in README
    assert len(needed) == 2


def test_pictures_in_the_readme_exist():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README, re.DOTALL)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).is_file()


def words_of(text: str) -> int:
    return len(re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.M).split())


def test_the_readme_is_short():
    assert words_of(README) <= 900
    assert words_of(README.partition("\n## Why\n")[0]) <= 120


def test_the_readme_shows_the_named_curves():
    rows = re.findall(r"^\| `(\w+)\(", README, re.MULTILINE)
    assert sorted(rows) == sorted(x for x in oc.__all__ if x.endswith("_schedule"))


@pytest.mark.parametrize("name", oc.__all__)
def test_a_public_name_is_documented_with_an_example(name):
    documentation = inspect.getdoc(getattr(oc, name)) or ""
    first, empty, *_ = documentation.splitlines()
    assert first.endswith(".")
    assert not empty
    for section in ("Args:\n", "Returns:\n", "Examples:\n"):
        assert f"\n{section}" in documentation
    (_, _, examples) = documentation.partition("\nExamples:\n")
    code = "".join(x.source for x in doctest.DocTestParser().get_examples(examples))
    assert "oc." in code


@pytest.mark.parametrize("name", sorted(set(oc.__all__) - {"Schedule"}))
def test_every_argument_is_documented(name):
    documentation = inspect.getdoc(getattr(oc, name)) or ""
    arguments = documentation.partition("Args:\n")[2].partition("\nReturns:")[0]
    documented = re.findall(r"^    \*{0,2}(\w+): ", arguments, re.MULTILINE)
    assert documented == list(inspect.signature(getattr(oc, name)).parameters)


METHODS = [
    name for name, value in vars(oc.Schedule).items() if not name.startswith("_")
]


@pytest.mark.parametrize("name", METHODS)
def test_every_public_attribute_of_a_schedule_is_documented(name):
    documentation = inspect.getdoc(inspect.getattr_static(oc.Schedule, name)) or ""
    assert documentation.partition("\n")[0].endswith(".")


def test_the_reference_lists_all_that_is_public():
    page = (ROOT / "docs" / "api.md").read_text()
    listed = re.findall(r"^   (\w+)$", page, re.MULTILINE)
    assert sorted(listed) == sorted(oc.__all__)


def test_every_page_is_in_the_contents():
    index = (ROOT / "docs" / "index.md").read_text()
    listed = re.findall(r"^[\w-]+$", index, re.MULTILINE)
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert sorted(listed) == sorted(pages - {"index"})


PAGES = [
    path
    for pattern in ("*.md", "docs/*.md", ".github/*.md", "benchmarks/*.md")
    for path in sorted(ROOT.glob(pattern))
]


def links(page: pathlib.Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text))


def headings(page: pathlib.Path) -> set[str]:
    """As they are linked to."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_link_is_dead(page):
    for link in links(page):
        if link.startswith("https://"):
            continue
        name, _, heading = link.partition("#")
        target = (page.parent / name) if name else page
        if target.parent.name == "_pictures":
            assert f'"{target.stem}"' in (ROOT / "docs" / "pictures.py").read_text()
            continue
        assert target.exists(), link
        assert not heading or heading in headings(target), link


def code_of(page: pathlib.Path) -> str:
    """The Python code of a page: examples, and blocks that are not run."""
    text = page.read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    parser = doctest.DocTestParser()
    return "\n".join(
        "".join(example.source for example in parser.get_examples(block))
        if ">>> " in block
        else block
        for block in blocks
    )


PYTHON_PAGES = [page for page in PAGES if "```python" in page.read_text()]


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=lambda path: path.name)
def test_every_name_in_the_code_of_a_page_exists(page):
    for name in re.findall(r"\boc((?:\.\w+)+)", code_of(page)):
        assert operator.attrgetter(name[1:])(oc) is not None


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=lambda path: path.name)
def test_every_keyword_in_the_code_of_a_page_exists(page):
    for node in ast.walk(ast.parse(code_of(page))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "oc":
            function = getattr(oc, node.func.attr)
            parameters = inspect.signature(function).parameters.values()
            if not any(x.kind is x.VAR_KEYWORD for x in parameters):
                known = {x.name for x in parameters}
                assert {x.arg for x in node.keywords if x.arg} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_mentions_a_name_that_is_gone(page):
    gone = re.findall(r"\bretime\b|\bdecay_shape\b|\boc\.from_dict\b", page.read_text())
    assert gone == []
