"""What the installed training libraries accept, read from their source: importing them would import torch, which prepare does without."""

import ast
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CONFIGURATION = (("transformers", "training_args.py"), ("trl", "trainer/base_config.py"), ("trl", "trainer/sft_config.py"))
_GIVEN = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch"}
"""Arguments of a schedule that the library passes by itself."""


@dataclass(frozen=True)
class ScheduleArguments:
    """``accepted`` is None where a schedule takes any argument."""

    accepted: frozenset[str] | None
    required: frozenset[str]


@cache
def configuration_fields() -> frozenset[str]:
    """Every field of the configuration class."""
    classes = [node for package, module in _CONFIGURATION for node in _classes(_tree(package, module)).values()]
    fields = [item for node in classes for item in node.body if isinstance(item, ast.AnnAssign)]
    return frozenset(item.target.id for item in fields if isinstance(item.target, ast.Name))


@cache
def optimizers() -> frozenset[str]:
    return frozenset(_members(_classes(_tree("transformers", "training_args.py"))["OptimizerNames"]).values())


@cache
def schedules() -> dict[str, ScheduleArguments]:
    """Every schedule of the learning rate by its name, with the arguments of the function that makes it."""
    names = _members(_classes(_tree("transformers", "trainer_utils.py"))["SchedulerType"])
    tree = _tree("transformers", "optimization.py")
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    table = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Dict)
        and ast.unparse(node.targets[0]) == "TYPE_TO_SCHEDULER_FUNCTION"
    )
    makers = {ast.unparse(key).rpartition(".")[2]: ast.unparse(value) for key, value in zip(table.keys, table.values, strict=True) if key}
    return {names[member]: _arguments(functions[maker]) for member, maker in makers.items()}


def _arguments(function: ast.FunctionDef) -> ScheduleArguments:
    names = [argument.arg for argument in function.args.args]
    required = names[: len(names) - len(function.args.defaults)]
    accepted = None if function.args.kwarg else frozenset(names) - _GIVEN
    return ScheduleArguments(accepted, frozenset(required) - _GIVEN)


def _members(enumeration: ast.ClassDef) -> dict[str, str]:
    assigned = [item for item in enumeration.body if isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant)]
    return {ast.unparse(item.targets[0]): str(item.value.value) for item in assigned if isinstance(item.value, ast.Constant)}


def _classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


@cache
def _tree(package: str, module: str) -> ast.Module:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return ast.Module(body=[], type_ignores=[])
    return ast.parse((Path(found.origin).parent / module).read_text(encoding="utf-8"))
