"""Finds what a source file uses of TensorRT, and says what of it a version does not have.

The types of variables are followed: from what a module's classes and methods give, from annotations such as
`config: "trt.IBuilderConfig"`, and through assignments to names and to attributes of `self`.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MODULES = {"tensorrt": "", "tensorrt.plugin": "plugin."}


@dataclass(frozen=True)
class Thing:
    """What an expression is: a module ("" or "plugin."), a class or function of the API, or an instance of a class."""

    kind: str  # "module", "name", "instance", "method" of one, or "function": a method that is given `self`
    name: str


@dataclass
class Checker(ast.NodeVisitor):
    """Visits a file.

    Attributes:
        api: names with their descriptions, of one version.
        problems: what is not in the API, with the line.
        checked: how many names, attributes and calls were looked up.
    """

    api: Mapping[str, Any]
    problems: list[str] = field(default_factory=list)
    checked: int = 0
    _names: dict[str, Thing] = field(default_factory=dict)
    _fields: dict[str, Thing] = field(default_factory=dict)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name in MODULES:
                self._names[alias.asname or alias.name] = Thing("module", MODULES[alias.name])

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for argument in (*node.args.args, *node.args.kwonlyargs):
            thing = self._annotated(argument.annotation)
            self._names.pop(argument.arg, None)
            if thing is not None:
                self._names[argument.arg] = thing
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        thing = self._thing(node.value)
        for target in node.targets:
            self._bind(target, thing)
            if not isinstance(target, ast.Name):
                self._thing(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        value = self._thing(node.value) if node.value is not None else None
        self._bind(node.target, self._annotated(node.annotation) or value)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._thing(node)

    def visit_Call(self, node: ast.Call) -> None:
        self._thing(node)

    def _bind(self, target: ast.expr, thing: Thing | None) -> None:
        if isinstance(target, ast.Name):
            self._names.pop(target.id, None)
            if thing is not None:
                self._names[target.id] = thing
        elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and thing is not None:
            self._fields[target.attr] = thing

    def _annotated(self, annotation: ast.expr | None) -> Thing | None:
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        if isinstance(annotation, ast.BinOp):  # X | None
            annotation = annotation.left
        thing = self._thing(annotation) if annotation is not None else None
        return Thing("instance", thing.name) if thing is not None and thing.kind == "name" else None

    def _thing(self, node: ast.expr) -> Thing | None:
        if isinstance(node, ast.Name):
            return self._names.get(node.id)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        self.generic_visit(node)
        return None

    def _attribute(self, node: ast.Attribute) -> Thing | None:
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return self._fields.get(node.attr)
        owner = self._thing(node.value)
        if owner is None:
            return None
        self.checked += 1
        if owner.kind == "module":
            if node.attr == "__version__":
                return None
            if owner.name == "" and node.attr == "plugin":
                return Thing("module", "plugin.")
            return self._known(f"{owner.name}{node.attr}", node)
        described = self.api.get(owner.name, {})
        if owner.kind in ("name", "instance") and isinstance(described, Mapping):
            if node.attr in described.get("members", ()):
                return Thing("instance", owner.name)
            if node.attr in described.get("methods", {}):
                return Thing("method" if owner.kind == "instance" else "function", f"{owner.name}.{node.attr}")
            if node.attr in described.get("attributes", ()) or node.attr in _parameters(described):
                return None
        self.problems.append(f"line {node.lineno}: {owner.name} has no {node.attr}")
        return None

    def _known(self, name: str, node: ast.expr) -> Thing | None:
        if name not in self.api:
            self.problems.append(f"line {node.lineno}: there is no {name}")
            return None
        return Thing("name", name)

    def _call(self, node: ast.Call) -> Thing | None:
        function = self._thing(node.func)
        for value in (*node.args, *(keyword.value for keyword in node.keywords)):
            self._thing(value)
        if function is None or function.kind not in ("name", "method", "function"):
            return None
        owner, _, method = (function.name, "", "") if function.kind == "name" else function.name.rpartition(".")
        described = self.api[owner]
        if isinstance(described, list):
            lines = described
        elif "members" in described:
            return Thing("instance", owner)
        else:
            lines = described["methods"][method or "__init__"]
        self.checked += 1
        if lines and not any(_takes(line, node, function.kind == "function") for line in lines):
            self.problems.append(f"line {node.lineno}: {ast.unparse(node)} does not fit {' or '.join(lines)}")
        given = owner if isinstance(described, dict) and not method else lines[0].rpartition(" -> ")[2] if lines else ""
        return Thing("instance", given) if given in self.api else None


def _parameters(described: Mapping[str, Any]) -> Iterator[str]:
    """Names what a class written in Python takes, which it keeps as attributes."""
    for line in described.get("methods", {}).get("__init__", ()):
        if "->" not in line:
            yield from (name.strip(" =") for name in line.partition("(")[2].rstrip(")").split(","))


def _takes(line: str, call: ast.Call, with_self: bool) -> bool:
    """Says whether a call has the arguments of a signature."""
    names = [name.strip() for name in line.partition("(")[2].partition(")")[0].split(",") if name.strip()]
    names = names[1:] if names[:1] == ["self"] and not with_self else names
    given = [name.strip("=") for name in names][: len(call.args)]
    given += [str(keyword.arg) for keyword in call.keywords]
    required = {name for name in names if not name.endswith("=")}
    known = {name.strip("=") for name in names}
    return len(call.args) <= len(names) and required <= set(given) <= known and len(given) == len(set(given))


def problems(source: str, api: Mapping[str, Any]) -> tuple[list[str], int]:
    """Gives what a source uses that the API does not have, and how much was looked up."""
    checker = Checker(api)
    tree = ast.parse(source)
    checker.visit(tree)  # first for what methods assign to `self` further down
    fields, checker = checker._fields, Checker(api)
    checker._fields = fields
    checker.visit(tree)
    return checker.problems, checker.checked
