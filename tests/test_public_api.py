"""Promises about the source itself, read from its syntax trees: names, imports, docstrings, sizes of files."""

import ast
import importlib
import importlib.util
import inspect
import pathlib
import re

import pytest

import tfzoo
from tfzoo import registry
from tfzoo.models.amortised import AmortisedModel
from tfzoo.models.base import LatentVariableModel
from tfzoo.models.mcmc import MCMCModel

pytestmark = pytest.mark.fast

ROOT = pathlib.Path(tfzoo.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TREES = {file: ast.parse(file.read_text()) for file in FILES}
IDS = [str(file.relative_to(ROOT)) for file in FILES]

# Who may import whom, as DESIGN has it: the core knows no objects, the parts know no models, the library no programs.
CORE = {"checks", "compiled", "math", "random", "types"}
PARTS = {"networks", "bijectors", "integrators", "geometry", "transport", "distributions", "objectives"}
LIBRARY = CORE | PARTS | {"models", "metrics", "data", "presets", "registry", "optimizers", "callbacks", "pictures"}
MAY_IMPORT = {
    "atomic_file": set(),
    "types": set(),
    "version": set(),
    "checks": set(),
    "compiled": {"types"},
    "random": {"types"},
    "math": {"types"},
    "networks": {"checks", "math", "types"},
    "integrators": CORE,
    "geometry": CORE,
    "transport": CORE,
    "bijectors": CORE | {"networks", "integrators"},
    "distributions": CORE | {"networks", "bijectors", "geometry", "integrators"},
    "objectives": CORE | {"integrators"},
    "metrics": {"math", "networks", "types"},
    "data": {"types"},
    "pictures": {"atomic_file", "types"},
    "presets": {"types"},
    "models": CORE | PARTS,
    "registry": {"types", "models", "presets"},
    "callbacks": CORE | {"models", "data", "metrics", "transport", "pictures", "atomic_file"},
    "evaluation": CORE | {"models", "data", "metrics", "objectives", "evaluation_checks"},
    "evaluation_checks": CORE | {"models", "metrics"},
    "recovery": CORE | {"models", "data", "metrics"},
    "optimizers": set(),
    "verification": CORE | {"models"},
    "gallery": LIBRARY | {"atomic_file", "runs", "posterior_grid", "latent_geometry"},
    "latent_geometry": CORE | {"models", "geometry", "integrators"},
    "posterior_grid": CORE | {"models"},
    "progress": LIBRARY,
    "run_config": LIBRARY,
    "runs": LIBRARY | {"atomic_file", "version", "run_config"},
    "measurements": {"atomic_file", "run_config", "runs"},
    "cli": LIBRARY
    | {
        "version",
        "runs",
        "measurements",
        "latent_geometry",
        "evaluation",
        "recovery",
        "verification",
        "gallery",
        "posterior_grid",
        "progress",
    },
    "load_saved_model": set(),
    "__init__": LIBRARY | {"version"},
}
# Heavy packages, and the only parts that may import them.
FOREIGN = {
    "keras": set(MAY_IMPORT)
    - {
        "atomic_file",
        "checks",
        "compiled",
        "types",
        "random",
        "math",
        "integrators",
        "geometry",
        "transport",
        "objectives",
    },
    "tensorflow_probability": {"random", "bijectors", "integrators", "geometry", "distributions", "objectives"}
    | {"models"},
    "scipy": {"transport", "metrics", "math", "geometry", "posterior_grid"},
    "sklearn": {"networks", "geometry", "metrics", "data"},
    "nibabel": {"data"},
    "pydicom": {"data"},
    "click": {"cli", "progress", "metrics"},
    "rich": {"cli", "progress"},
    "matplotlib": {"gallery"},
    "yaml": {"cli"},
}
# Applications on the library, and what each may import of the others.
APPLICATIONS = {"export": set()}
APPLICATION_FILES = sorted(file for name in APPLICATIONS for file in (ROOT.parent / name).rglob("*.py"))
APPLICATION_IDS = [str(file.relative_to(ROOT.parent)) for file in APPLICATION_FILES]
# What runs in a server's place: neither the library nor TensorFlow's Python.
WITHOUT_TENSORFLOW = {"c_api", "census", "cli", "messages", "runtime", "verification", "versions", "warmup"}
# Never: the applications are built on the library.
OUTSIDE = {"export", "serving", "benchmarks", "tests", "colab"}

# What Keras and TFP call by these names, and say what it does.
INHERITED = {
    "build",
    "call",
    "compute_output_shape",
    "from_config",
    "get_config",
    "reset_state",
    "result",
    "update_state",
}


def part_of(file):
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(tree):
    """Yields what a file imports, as "package.module.name", wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def parts_imported(tree):
    return {name.split(".")[1] for name in imports(tree) if name.startswith("tfzoo.")}


def names_of(tree):
    """Returns the value of __all__, or None."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return None


def as_ruff_sorts(name):
    """Constants, then classes, then the rest, each by alphabet."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def public_definitions(tree):
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def test_source_was_found():
    assert len(FILES) > 30


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_all_is_static_sorted_and_up_to_date(file):
    names = names_of(TREES[file])
    definitions = {node.name for node in public_definitions(TREES[file])}
    if names is None:
        assert file.name != "__init__.py"
        assert not definitions
        return
    assert names == sorted(set(names), key=as_ruff_sorts)
    if file.name == "__init__.py":
        assert definitions <= set(names)
    module = ".".join(("tfzoo", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for name in names:
        assert hasattr(importlib.import_module(module), name), name


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_who_imports_whom(file):
    part = part_of(file)
    assert part in MAY_IMPORT, f"{part} needs a row in MAY_IMPORT"
    forbidden = parts_imported(TREES[file]) - MAY_IMPORT[part] - {part}
    assert not forbidden


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_foreign_packages_stay_where_they_belong(file):
    for name in imports(TREES[file]):
        package = name.split(".")[0]
        assert part_of(file) in FOREIGN.get(package, set(MAY_IMPORT)), f"{package} is not for {part_of(file)}"
        assert package not in OUTSIDE


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_keras_is_imported_whole(file):
    """`import keras`, then `keras.layers.Dense`: one spelling everywhere."""
    assert not [name for name in imports(TREES[file]) if name.startswith("keras.")]


def test_no_cycles_between_parts():
    graph = {}
    for file, tree in TREES.items():
        graph.setdefault(part_of(file), set()).update(parts_imported(tree) - {part_of(file)})
    done = set()

    def visit(part, path):
        assert part not in path, " -> ".join([*path, part])
        if part not in done:
            for other in sorted(graph.get(part, ())):
                visit(other, [*path, part])
            done.add(part)

    for part in graph:
        visit(part, [])


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_everything_public_has_a_docstring(file):
    assert ast.get_docstring(TREES[file]), "module"
    for node in public_definitions(TREES[file]):
        assert ast.get_docstring(node), node.name
        for method in public_definitions(node) if isinstance(node, ast.ClassDef) else ():
            inherited = method.name in INHERITED or method.name.startswith("on_")
            assert inherited or ast.get_docstring(method), f"{node.name}.{method.name}"


@pytest.mark.parametrize("name", tfzoo.list_models())
def test_every_model_names_its_paper(name):
    model_class = registry._MODELS[name]
    assert "arXiv:" in model_class.__doc__
    module = inspect.getmodule(model_class)
    assert "References:" in module.__doc__
    assert "https://arxiv.org/abs/" in module.__doc__
    assert model_class.__name__ in tfzoo.models.__all__
    assert module.__name__ == f"tfzoo.models.{name}"


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_files_are_short_and_named_for_what_they_hold(file):
    assert len(file.read_text().splitlines()) <= 400
    assert not {"utils", "util", "helpers", "common", "misc"} & set(file.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("file", APPLICATION_FILES, ids=APPLICATION_IDS)
def test_applications_are_built_on_public_names(file):
    application = file.relative_to(ROOT.parent).parts[0]
    for name in imports(ast.parse(file.read_text())):
        assert name.split(".")[0] not in OUTSIDE - {application} - APPLICATIONS[application]
        if name.startswith("tfzoo."):
            module, _, leaf = name.rpartition(".")
            assert not [part for part in name.split(".") if part.startswith("_")]
            public = getattr(importlib.import_module(module), "__all__", ())
            assert leaf in public or importlib.util.find_spec(name), name


@pytest.mark.parametrize("file", APPLICATION_FILES, ids=APPLICATION_IDS)
def test_applications_keep_the_librarys_manners(file):
    tree = ast.parse(file.read_text())
    module = ".".join(file.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    definitions = public_definitions(tree)
    assert ast.get_docstring(tree), "module"
    for node in definitions:
        assert ast.get_docstring(node), node.name
    names = names_of(tree) or []
    assert names == sorted(set(names), key=as_ruff_sorts)
    assert {node.name for node in definitions} <= set(names)
    for name in names:
        assert hasattr(importlib.import_module(module), name), name
    assert len(file.read_text().splitlines()) <= 400


@pytest.mark.parametrize("name", sorted(WITHOUT_TENSORFLOW))
def test_what_stands_for_a_server_imports_no_library(name):
    tree = ast.parse((ROOT.parent / "export" / f"{name}.py").read_text())
    # At the top: what is inside of a function or of bare_tensorflow() is somebody else's matter.
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    found = {each.removeprefix("export.").split(".")[0] for each in imports(top)}
    assert not found & {"keras", "tensorflow", "tensorflow_probability", "tfzoo"}
    ours = {each.split(".")[1] for each in imports(top) if each.startswith("export.")}
    assert ours <= WITHOUT_TENSORFLOW


def test_the_package_offers_what_it_promises():
    promised = {"create_model", "data", "distributions", "list_models", "list_presets", "metrics", "models"}
    promised |= {"geometry", "networks", "objectives", "random"}
    assert promised <= set(tfzoo.__all__)
    assert {"iwae", "vae"} <= set(tfzoo.list_models())


def test_tests_that_the_source_names_are_there():
    sources = [*FILES, *(file for name in ("export", "serving") for file in (ROOT.parent / name).rglob("*.py"))]
    named = {name for file in sources for name in re.findall(r"\btest_\w+\.py\b", file.read_text())}
    assert named
    assert named <= {file.name for file in (ROOT.parent / "tests").rglob("*.py")}


def test_who_adds_a_model_is_told_all_that_it_must_implement():
    owed = LatentVariableModel.__abstractmethods__
    for text in (
        (ROOT.parent / "CONTRIBUTING.md").read_text(),
        (ROOT / "models" / "base.py").read_text().split('"""')[1],
    ):
        assert {*owed, "call"} <= set(re.findall(r"`(\w+)`", text))
    assert not AmortisedModel.__abstractmethods__ | MCMCModel.__abstractmethods__
