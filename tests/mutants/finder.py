"""Finds all the changes that are tried in a file.

Left alone is what only people read or what the type checker answers for: docstrings, annotations, decorators, texts of
logs and errors, assertions, the values of enumerations.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

from tests.mutants.change import Mutant
from tests.mutants.swaps import ARITHMETIC, NAMES, ORDERS, other_constant, word_and_other

__all__ = ["find_mutants"]

#: Calls whose arguments are for people, or wire things up.
_LEFT_ALONE = frozenset({"about", "super", "field", "factory"})
#: Assigned names that mean nothing to the program.
_UNUSED_NAMES = frozenset({"__all__", "__slots__", "__hash__", "_log"})


def find_mutants(file: str, source: bytes) -> list[Mutant]:
    """All changes of ``file``, in its order."""
    finder = _Finder(file, source)
    finder.visit(ast.parse(source))
    return sorted(finder.found, key=lambda mutant: mutant.start)


class _Finder(ast.NodeVisitor):
    def __init__(self, file: str, source: bytes) -> None:
        self.found: list[Mutant] = []
        self._file = file
        self._source = source
        self._line_starts = [0]
        for line in source.splitlines(keepends=True):
            self._line_starts.append(self._line_starts[-1] + len(line))
        self._scope: list[str] = []
        #: How many functions we are in; the lines of the statement; what the innermost function assigns how often.
        self._depth = 0
        self._lines = (0, 0)
        self._stores: Counter[str] = Counter()
        self._returns_bool = False
        self._alike: Counter[tuple[str, str, str, str]] = Counter()

    # -- what is found

    def _start(self, node: ast.stmt | ast.expr) -> int:
        return self._line_starts[node.lineno - 1] + node.col_offset

    def _end(self, node: ast.stmt | ast.expr) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._line_starts[node.end_lineno - 1] + node.end_col_offset

    def _text(self, node: ast.stmt | ast.expr) -> str:
        return self._source[self._start(node) : self._end(node)].decode()

    def _add(self, kind: str, node: ast.stmt | ast.expr, after: str, *, end: int | None = None) -> None:
        start = self._start(node)
        before = self._source[start : self._end(node) if end is None else end].decode()
        if before == after:
            return
        alike = (".".join(self._scope), kind, before, after)
        self.found.append(
            Mutant(
                file=self._file,
                scope=alike[0],
                kind=kind,
                before=before,
                after=after,
                number=self._alike[alike],
                start=start,
                lines=self._lines,
                is_inside=self._depth > 0,
            )
        )
        self._alike[alike] += 1

    # -- scopes

    def visit_Module(self, node: ast.Module) -> None:
        self._body(node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._scope.append(node.name)
        is_enum = any(isinstance(base, ast.Name) and base.id == "Enum" for base in node.bases)
        for statement in node.body:
            if not is_enum or isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                self._statement(statement)
        self._scope.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if node.name == "__repr__":
            return
        self._scope.append(node.name)
        self._lines = (node.lineno, node.body[0].lineno - 1)
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        outer = self._stores, self._returns_bool
        self._stores = Counter(_stored_names(node))
        self._stores.update(argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg))
        self._returns_bool = isinstance(node.returns, ast.Name) and node.returns.id == "bool"
        self._depth += 1
        self._body(node.body)
        self._depth -= 1
        self._stores, self._returns_bool = outer
        self._scope.pop()

    # -- statements

    def _body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        assert node.end_lineno is not None
        body = getattr(node, "body", None)
        self._lines = (node.lineno, max(node.lineno, body[0].lineno - 1) if body else node.end_lineno)
        if self._depth and self._may_be_removed(node):
            self._add("removed", node, "pass")
        self.visit(node)

    def _may_be_removed(self, node: ast.stmt) -> bool:
        match node:
            case ast.Expr(value=ast.Await() | ast.Call() as value):
                return not _is_for_people(value.value if isinstance(value, ast.Await) else value)
            case ast.Assign(targets=[target]) | ast.AnnAssign(target=target, value=ast.expr()):
                if isinstance(target, ast.Name):
                    return self._stores[target.id] > 1
                # What is not set when an object is made is missed by the first who looks.
                return self._scope[-1] != "__init__"
            case ast.AugAssign() | ast.Delete() | ast.Raise() | ast.Break() | ast.Continue() | ast.Return(value=None):
                return True
        return False

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not (isinstance(node.targets[0], ast.Name) and node.targets[0].id in _UNUSED_NAMES):
            if not self._depth:
                self._entries(node.value)
            self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if type(node.op) in ARITHMETIC:
            sign, other = ARITHMETIC[type(node.op)]
            text = self._text(node)
            self._add("arithmetic", node, text.replace(f"{sign}=", f"{other}=", 1))
        self.visit(node.value)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            return
        values = ("True", "False") if self._returns_bool else ("None",)
        for value in values:
            if self._text(node.value) != value:
                self._add("returns", node, f"return {value}")
        if not (self._returns_bool and isinstance(node.value, ast.Constant)):
            self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        pass

    def visit_Assert(self, node: ast.Assert) -> None:
        pass

    def visit_Break(self, node: ast.Break) -> None:
        self._add("jump", node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self._add("jump", node, "break")

    def visit_If(self, node: ast.If) -> None:
        self._condition(node.test)
        self._body(node.body)
        self._body(node.orelse)

    def visit_While(self, node: ast.While) -> None:
        if not isinstance(node.test, ast.Constant):
            self._add("condition", node.test, "False")
            self._inner_condition(node.test)
        self._body(node.body)

    def visit_For(self, node: ast.For) -> None:
        self._add("loop", node.iter, "()")
        self.visit(node.iter)
        self._body(node.body)

    def visit_With(self, node: ast.With) -> None:
        self._with(node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        self._with(node)

    def _with(self, node: ast.With | ast.AsyncWith) -> None:
        if all(item.optional_vars is None for item in node.items):
            self._add("unwrapped", node, "if True", end=self._end(node.items[-1].context_expr))
        for item in node.items:
            self.visit(item.context_expr)
        self._body(node.body)

    def visit_Try(self, node: ast.Try) -> None:
        self._body(node.body)
        for handler in node.handlers:
            if handler.type is not None:
                self._lines = (handler.lineno, handler.lineno)
                self._add("not caught", handler.type, "()")
            self._body(handler.body)
        self._body(node.orelse)
        self._body(node.finalbody)

    # -- expressions

    def _condition(self, node: ast.expr) -> None:
        for value in ("True", "False"):
            self._add("condition", node, value)
        self._inner_condition(node)

    def _inner_condition(self, node: ast.expr) -> None:
        """What is within a condition that is changed as a whole: its negation would tell nothing more."""
        match node:
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self._inner_condition(operand)
            case ast.Compare(ops=ops) if not any(type(op) in ORDERS for op in ops):
                self.generic_visit(node)
            case _:
                self.visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        word = " and " if isinstance(node.op, ast.And) else " or "
        for dropped in node.values:
            kept = word.join(self._text(value) for value in node.values if value is not dropped)
            self._add("operand", node, f"({kept})")
        for value in node.values:
            self._inner_condition(value)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self._add("sign", node, f"({self._text(node.operand)})")
        self.visit(node.operand)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [self._text(operand) for operand in (node.left, *node.comparators)]
        for changed in range(len(node.ops)):
            text = operands[0]
            for number, (op, operand) in enumerate(zip(node.ops, operands[1:], strict=True)):
                text += f" {word_and_other(op)[number == changed]} {operand}"
            self._add("comparison", node, f"({text})")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.BitOr):
            self._add("operand", node, f"({self._text(node.left)})")
            self._add("operand", node, f"({self._text(node.right)})")
        elif type(node.op) in ARITHMETIC and not (_is_text(node.left) or _is_text(node.right)):
            _, other = ARITHMETIC[type(node.op)]
            self._add("arithmetic", node, f"({self._text(node.left)} {other} {self._text(node.right)})")
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._add("condition", node, f"({self._text(node.body)})")
        self._add("condition", node, f"({self._text(node.orelse)})")
        self._inner_condition(node.test)
        self.visit(node.body)
        self.visit(node.orelse)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self.visit(node.iter)
        for condition in node.ifs:
            self._add("condition", condition, "True")
            self._inner_condition(condition)

    def visit_Constant(self, node: ast.Constant) -> None:
        other = other_constant(node.value, self._text(node))
        if other is not None:
            self._add("constant", node, other)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in NAMES and isinstance(node.ctx, ast.Load):
            self._add("name", node, NAMES[node.id])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in NAMES:
            self._add("name", node, f"{self._text(node.value)}.{NAMES[node.attr]}")
        self.visit(node.value)

    def visit_Slice(self, node: ast.Slice) -> None:
        for bound in (node.lower, node.upper):
            if bound is not None:
                self._add("slice", bound, "")
        self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_Call(self, node: ast.Call) -> None:
        if _is_for_people(node):
            return
        name = _name(node.func)
        if name in _LEFT_ALONE:
            return
        if self._depth and self._scope[-1] != "__init__":
            for dropped in node.keywords:
                kept = [self._text(argument) for argument in node.args]
                kept += [self._keyword(each) for each in node.keywords if each is not dropped]
                self._add("argument", node, f"{self._text(node.func)}({', '.join(kept)})")
        names_what = name.lstrip("_").startswith("check_")
        for child in ast.iter_child_nodes(node):
            if not (names_what and _is_text(child)):
                self.visit(child)

    def _keyword(self, node: ast.keyword) -> str:
        return f"{node.arg}={self._text(node.value)}" if node.arg else f"**{self._text(node.value)}"

    # -- tables

    def _entries(self, node: ast.expr) -> None:
        """A table at the top of a file: without each of its entries, and with each leading elsewhere."""
        keys = {id(key) for each in ast.walk(node) if isinstance(each, ast.Dict) for key in each.keys}
        for table in ast.walk(node):
            if isinstance(table, ast.Dict) and len(table.values) > 1:
                targets = list(dict.fromkeys(self._text(value) for value in table.values))
                for key, value in zip(table.keys, table.values, strict=True):
                    if key is not None:
                        self._lines = (key.lineno, key.lineno)
                        self._add("entry", key, "**{}", end=self._end(value))
                        self._add("entry", value, targets[targets.index(self._text(value)) - 1])
            elif isinstance(table, ast.Set | ast.Tuple) and len(table.elts) > 1 and id(table) not in keys:
                for each in table.elts:
                    if isinstance(each, ast.Name | ast.Attribute | ast.Constant):
                        self._add("entry", each, "*()")


def _stored_names(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _is_for_people(node: ast.expr) -> bool:
    """Whether that is a line for the log, or an error, whose arguments people read."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="_log"))):
            return True
        case ast.Call(func=func):
            return _name(func).endswith("Error")
    return False
