"""The house: which module may import which, what packages say of themselves, and the links.

Modules are read, not imported.
"""

import ast
import functools
import importlib.util
import os
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DETECTORS = runpy.run_path(str(ROOT / "models/registry.py"))["DETECTORS"]

#: Package -> its floors from the top down: the modules and packages right inside of it. A module
#: imports from its own floor or a lower one. `*` stands for all that are not named, new ones too.
FLOORS = {
    "harmonic_tf": [["*"], ["ops"], ["boxes", "masks"]],
    "harmonic_tf.models": [
        [
            "__init__",
            "registry",
            "adapters",
            "torchvision",
            *(module for module, _ in DETECTORS.values()),
        ],
        ["*"],
        ["backbones"],
        ["layers"],
    ],
    "harmonic_tf.training": [
        ["cli"],
        ["comparison"],
        ["*", "train", "loop", "recipe", "build", "callbacks", "checkpoints"],
        ["serving"],
        ["visualization"],
        ["evaluation", "evaluate"],
        ["data"],
        ["console", "errors", "progress", "interrupts", "files", "labels", "locking", "rle"],
    ],
}
#: Package -> the packages above it, of which it imports nothing.
ABOVE = {
    "harmonic_tf": ("harmonic_tf.models", "harmonic_tf.training"),
    "harmonic_tf.models": ("harmonic_tf.training",),
    "harmonic_tf.training": (),
}
#: What the core and the models import inside functions only; the libraries of others' detectors at
#: the top of adapters, too, which are imported when asked for, and nowhere else.
ONLY_INSIDE_FUNCTIONS = ("tensorflow", "jax", "torch")
ONLY_IN_ADAPTERS = ("keras_cv", "keras_hub")
ADAPTERS = "harmonic_tf.models.adapters."


def find_modules():
    """Name of each module -> its file, in all three folders."""
    links = {ROOT / "harmonic_tf/models", ROOT / "harmonic_tf/training"}
    found = {}
    for folder, package in (
        ("harmonic_tf", "harmonic_tf"),
        ("models", "harmonic_tf.models"),
        ("training", "harmonic_tf.training"),
    ):
        for file in sorted((ROOT / folder).rglob("*.py")):
            if links.isdisjoint(file.parents):
                parts = file.relative_to(ROOT / folder).with_suffix("").parts
                found[".".join((package, *parts)).removesuffix(".__init__")] = file
    return found


MODULES = find_modules()


@functools.cache
def imports(module):
    """What a module imports: set of (absolute name, whether it is at the top)."""
    file = MODULES[module]
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inside = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}, line {node.lineno}: expected an absolute import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {(name, node not in inside) for name in names}
    return found


def imported_modules(module, at_top_only=False):
    """The modules of ours among what a module imports; a name in a module is that module."""
    names = [name for name, at_top in imports(module) if at_top or not at_top_only]
    names = {name if name in MODULES else name.rpartition(".")[0] for name in names}
    return sorted(names & MODULES.keys() - {module})


def package_of(module):
    """Which of the three a module belongs to."""
    packages = [name for name in FLOORS if f"{module}.".startswith(f"{name}.")]
    return max(packages, key=len)


def floor(module):
    """The number of a module's floor, from the top down, and its package."""
    package = package_of(module)
    part = module.removeprefix(package).removeprefix(".").split(".")[0] or "__init__"
    floors = FLOORS[package]
    named = [number for number, parts in enumerate(floors) if part in parts]
    rest = [number for number, parts in enumerate(floors) if "*" in parts]
    return (named or rest)[0], package


@pytest.mark.parametrize("package", FLOORS)
def test_imports_go_downwards(package):
    for module in MODULES:
        here, own_package = floor(module)
        if own_package != package:
            continue
        for other in imported_modules(module):
            there, its_package = floor(other)
            is_above = its_package in ABOVE[package] or (its_package == package and there < here)
            assert not is_above, f"{module} imports {other}, which is above it"


def test_a_new_module_has_a_floor():
    assert floor("harmonic_tf.training.cli.commands")[0] == 0
    assert floor("harmonic_tf.training.something_new") == floor("harmonic_tf.training.train")
    assert floor("harmonic_tf.training.data.something.new") == floor("harmonic_tf.training.data")
    assert floor("harmonic_tf.models")[0] == floor("harmonic_tf.models.ssd")[0] == 0
    assert floor("harmonic_tf.models.something_new") == (1, "harmonic_tf.models")
    assert floor("harmonic_tf.something_new") == floor("harmonic_tf.losses.joint")


def test_no_module_needs_itself_to_be_imported():
    """No circle of imports at the top of modules."""
    done, path = set(), []

    def visit(module):
        assert module not in path, " imports ".join([*path[path.index(module) :], module])
        if module in done:
            return
        path.append(module)
        for other in imported_modules(module, at_top_only=True):
            visit(other)
        done.add(path.pop())

    for module in MODULES:
        visit(module)


def test_other_libraries_are_imported_where_they_are_needed():
    for module in MODULES:
        if package_of(module) == "harmonic_tf.training":
            continue
        for name, at_top in imports(module):
            library = name.split(".")[0]
            is_allowed = not at_top or library not in ONLY_INSIDE_FUNCTIONS
            is_allowed &= library not in ONLY_IN_ADAPTERS or module.startswith(ADAPTERS)
            assert is_allowed, f"{module} imports {name}"


@pytest.mark.parametrize(
    "package", [name for name, file in MODULES.items() if file.name == "__init__.py"]
)
def test_a_package_opens_with_one_sentence(package):
    text = ast.get_docstring(ast.parse(MODULES[package].read_text(encoding="utf-8"))) or ""
    first = " ".join(text.split("\n\n")[0].split())
    assert first.endswith(".") and ". " not in first and first[0].isupper(), (package, first)


def test_every_package_of_the_tree_has_an_init():
    for module, file in MODULES.items():
        assert (file.parent / "__init__.py").is_file(), module


def test_the_registry_names_the_presets_of_each_class():
    from harmonic_tf.models import registry

    for name, (_, presets) in registry.DETECTORS.items():
        assert set(presets.split()) == set(registry.detector_class(name).presets), name


@pytest.mark.parametrize("name", ["models", "training"])
def test_links_make_paths_equal_to_import_names(name):
    link = ROOT / "harmonic_tf" / name
    if not link.is_symlink():
        pytest.skip("a system without links: the packages are found by setup.cfg")
    assert os.readlink(link) == f"../{name}"
    found = importlib.util.find_spec(f"harmonic_tf.{name}").origin
    assert Path(found).resolve() == (ROOT / name / "__init__.py").resolve()


def test_names_that_outside_code_imports_are_where_they_were():
    from harmonic_tf.training import evaluate
    from harmonic_tf.training.evaluation import evaluator

    for name in evaluate.__all__:
        assert getattr(evaluate, name) is getattr(evaluator, name)
