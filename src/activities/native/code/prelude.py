# Runs the program of a `code` node: gives it its names, finds its result, and says what went wrong in its own lines.
import ast
import json
import linecache
import os
import sys
import traceback
import types

NAME = "code.py"
DIRECTORY = sys.argv[1]


def read(name):
    with open(os.path.join(DIRECTORY, name), encoding="utf-8") as file:
        return file.read()


def answer(content):
    with open(os.path.join(DIRECTORY, "result.json"), "w", encoding="utf-8") as file:
        file.write(content)


def fail(kind, name, message, line=None, column=None):
    answer(json.dumps({"error": {
        "kind": kind,
        "type": name,
        "message": f"{name}: {message}" if message else name,
        "line": line,
        "column": column,
    }}))
    sys.exit(1)


def fail_at_syntax(error):
    message = getattr(error, "msg", None) or str(error)
    if message == "'return' outside function":
        message += "; set `result` instead"
    traceback.print_exception(type(error), error, None)
    name = type(error).__name__ if isinstance(error, SyntaxError) else "SyntaxError"
    fail("syntax", name, message, getattr(error, "lineno", None), getattr(error, "offset", None))


def fail_at_run(error):
    own = [step for step in steps(error) if in_program(step)]
    traceback.print_exception(type(error), error, own[0] if own else None)
    fail("error", type(error).__name__, str(error).strip(), own[-1].tb_lineno if own else None)


def in_program(step):
    return step.tb_frame.f_code.co_filename == NAME


def steps(error):
    step = error.__traceback__
    while step is not None:
        yield step
        step = step.tb_next


def as_json(value):
    import datetime
    import decimal
    import pathlib
    import uuid

    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, uuid.UUID, pathlib.PurePath)):
        return str(value)
    for method in ("_asdict", "tolist"):
        if callable(getattr(value, method, None)) and not isinstance(value, type):
            return getattr(value, method)()
    raise TypeError(f"JSON cannot hold a value of type {type(value).__name__}")


def calls(statement, name):
    """Whether a statement calls a function itself, not only in functions that it defines."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
        return False
    if isinstance(statement, ast.Call) and isinstance(statement.func, ast.Name) and statement.func.id == name:
        return True
    return any(calls(child, name) for child in ast.iter_child_nodes(statement))


def settled(value):
    import inspect

    if not inspect.iscoroutine(value):
        return value
    import asyncio

    return asyncio.run(value)


def by_convention(tree, names):
    """The value of `main` or `run`, if the program defines it and does not call it."""
    import inspect

    for name in ("main", "run"):
        function = names.get(name)
        if not isinstance(function, types.FunctionType) or any(calls(part, name) for part in tree.body):
            continue
        arguments = (names["data"],) if inspect.signature(function).parameters else ()
        return settled(function(*arguments))
    return None


def run(tree, parts, names):
    """The result: `result`, `output`, the value of the last expression, what `main` or `run` returns."""
    before = {name: names.get(name) for name in ("result", "output")}
    last = None
    stopped = False
    try:
        for part, mode in parts:
            last = settled(eval(part, names)) if mode == "eval" else exec(part, names)
    except SystemExit as stop:
        if stop.code not in (None, 0):
            raise
        stopped = True
    for name, given in before.items():
        value = names.get(name)
        if value is not None and value is not given:
            return settled(value)
    return last if stopped or last is not None else by_convention(tree, names)


def compiled(source):
    tree = ast.parse(source, NAME)
    # As a whole too: only then all of its syntax is checked before anything runs.
    compile(tree, NAME, "exec")
    body = list(tree.body)
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    parts = [(compile(ast.Module(body, tree.type_ignores), NAME, "exec"), "exec")]
    if last is not None:
        parts.append((compile(ast.Expression(last.value), NAME, "eval"), "eval"))
    return tree, parts


def main():
    source = read("code.py")
    linecache.cache[NAME] = (len(source), None, source.splitlines(True), NAME)
    module = types.ModuleType("__main__")
    names = module.__dict__
    names.update(json.loads(read("scope.json")))
    names["data"] = json.loads(read("input.json"))
    sys.modules["__main__"] = module
    sys.argv = [NAME]
    try:
        tree, parts = compiled(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        fail_at_syntax(error)
    try:
        value = run(tree, parts, names)
    except SystemExit:
        raise
    except BaseException as error:
        fail_at_run(error)
    try:
        content = json.dumps({"result": value}, default=as_json, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        fail("result", type(error).__name__, str(error))
    answer(content)


main()
