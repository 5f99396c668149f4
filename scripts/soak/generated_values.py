"""Values and keys of configurations: right ones, and wrong ones of every kind."""

import functools
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from rnnjax.sweeps.groups import Option, group_options, top_fields
from rnnjax.sweeps.schema import MISSING, Field, as_text
from scripts.soak.mutations import Rng, pick


TINY = (
    "model.hidden=3 model.embedding=3 steps=2 batch=4 eval.size=8 eval.every=2 "
    "log_every=1 task.distance=4 probe=off"
).split()
"""A run that is as cheap as it gets."""

ODD = (
    *(
        "null",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "-1e400",
        "1e-400",
        "-1",
        "0",
        "-0",
        "0.5",
    ),
    *("99999999999999999999", "-99999999999999999999", "4294967296", "9e15", "1_000"),
    *(
        "0x10",
        "1e3",
        "true",
        "FALSE",
        "yes",
        "",
        " ",
        "''",
        '""',
        "'null'",
        "'3'",
        "???",
    ),
    *("[]", "[[]]", "[1]", "[1,[2,{a:3}]]", "[null]", "{}", "{a:1}", "{a:{b:{}}}"),
    *("{1:2}", "{null:1}", "{a:1,a:2}", "{name:lstm}", "[nan]", "[-1]", "[1,x,null]"),
    *("lstm", "Lstm", "../up", "a/b", "~", "~nobody/x", "/dev/null", "/dev/zero", "."),
    *(
        "'it''s'",
        "'it\\'s'",
        '"a \\" b"',
        "'unclosed",
        "a b",
        "a,b",
        "a:b",
        "a=b",
        "==",
    ),
    *("größe", "日本", "\u202eabc", "e\u0301", "\U0001f600", "\ud83d", "a\u200bb"),
    *("\x1b[31mred", "a\x00b", "a\nb", "a\tb", "\x07", "\r", "\x7f", "\u2028"),
    *(
        "${lr}",
        "${steps}",
        "${nothing}",
        "${oc.env:HOME}",
        "${oc.env:NOT_SET}",
        "$word$",
    ),
    *("${oc.env:NOT_SET,7}", "${oc.decode:'[1,2]'}", "${oc.create:{a:1}}", "${", "${}"),
    *(
        "${oc.select:lr}",
        "${oc.dict.keys:model}",
        "${hydra:job.name}",
        "${..lr}",
        "\\$",
    ),
    *("${now:%Y}", "${lr}${lr}", "${${lr}}", "${nosuch:1}", "{a:${lr}}", "[${seed}]"),
    *(
        "range(3)",
        "range(0)",
        "range(5,0)",
        "range(0,10,0)",
        "range(1,2,1e-9)",
        "range()",
    ),
    *(
        "range(0,inf)",
        "range(nan)",
        "range(1e300)",
        "choice()",
        "choice(1,2)",
        "choice(a",
    ),
    *(
        "choice([1,2],{a:3})",
        "glob(*)",
        "glob(nothing*)",
        "glob(*,exclude=*)",
        "glob()",
    ),
    *("interval(0,1)", "interval(1,0)", "interval(nan,1)", "tag(log,interval(1e-4,1))"),
    *("tag(a,b,range(3))", "tag()", "sort(3,1,2)", "shuffle(1,2,3)", "sort(a,1,null)"),
    *("int(3.7)", "float(x)", "str([1,2])", "bool(maybe)", "int(1e400)", "json(1)"),
    *("int(nan)", "float('1_0')", "str(${lr})", "extend_list(1)", "choice(choice(1))"),
    *("1,2", "1,", ",", ",1", "0,0", "1,1", "[1],[2]", "{a:1},{b:2}", "null,1", "1,x"),
    *("[" * 200, "(" * 50, "{a:" * 300 + "1" + "}" * 300, "[" * 900 + "]" * 900),
    *("x" * 300, "9" * 5000, "a." * 500, "-" * 200, "é" * 130),
)
"""What stands behind the = of an override."""

ODD_KEYS = (
    *(
        "stepz",
        "model",
        "model.",
        ".steps",
        "model..hidden",
        "model.hidden.x",
        "a.b.c.d",
    ),
    *(
        "cell.name",
        "task.name",
        "probe.preset",
        "steps.x",
        "",
        " ",
        "+",
        "~",
        "++",
        "@",
    ),
    *("+steps", "++lr", "~seed", "cell@x", "cell@x:y", "+cell@model", "cell.", "größe"),
    *(
        "hydra.run.dir",
        "hydra",
        "hydra/launcher",
        "hydra.launcher.workers",
        "hydra.mode",
    ),
    *(
        "hydra.verbose",
        "hydra.job.name",
        "hydra.searchpath",
        "hydra/job_logging",
        "sweep",
    ),
    *("defaults", "experiment", "variant", "zip", "tracker", "config", "cell_options"),
    *("_target_", "__class__", "model.__init__", "a[0]", "probe.steps[0]", "1", "null"),
    *("\x1b[1m", "a b", "a\x00", "x" * 300, "é.é", "${lr}", "${a}", "a:b", "dry_run"),
)

CALLBACKS = (
    *("+hydra.callbacks.a=1", "+hydra.callbacks.a._target_=nothing.Here"),
    *("+hydra.callbacks.a._target_=collections.OrderedDict", "hydra.callbacks.a={}"),
    *(
        "+hydra.callbacks.a._target_=",
        "+hydra.callbacks.a._target_=os",
        "~hydra.callbacks",
    ),
    *("+hydra.callbacks.a._target_=a..b", "+hydra.callbacks={a:{_target_:[1]}}"),
    *("+hydra.callbacks.a.b=1", "+hydra/callbacks=x", "+hydra.callbacks=[]"),
    *("+hydra.callbacks.${lr}._target_=a.B", "+hydra.callbacks.a._target_=.x"),
)


@functools.cache
def options() -> Mapping[str, Mapping[str, Option]]:
    """The generated groups."""
    return group_options()


@functools.cache
def fields() -> dict[str, list[tuple[Field, str]]]:
    """Every key with its fields, each beside the choice of a group that it needs."""
    found = {key: [(field, "")] for key, field in top_fields().items()}
    for group, known in options().items():
        for name, option in known.items():
            for field in option.fields.values():
                found.setdefault(field.key, []).append((field, f"{group}={name}"))
    return found


def right_value(rng: Rng, annotation: Any) -> str:
    """A value that fits an annotation, which may still be out of range."""
    kinds = [part for part in get_args(annotation) or (annotation,)]
    if get_origin(annotation) is Literal:
        return as_text(pick(rng, kinds))
    if get_origin(annotation) is tuple:
        parts = [right_value(rng, part) for part in kinds if part is not Ellipsis]
        return f"[{','.join(parts * int(rng.integers(0, 3)))}]"
    if len(kinds) > 1:
        return right_value(rng, pick(rng, kinds))
    numbers = {
        bool: ("true", "false"),
        int: ("0", "1", "2", "3", "5", "8", "-1", "64"),
        float: ("0", "0.0", "1e-3", ".5", "1", "2.5", "-1.0", "1e6", "1e-30", "1e30"),
    }
    return pick(rng, numbers.get(kinds[0], ("null", "a", "b.csv", "some text", "lstm")))


def override(rng: Rng) -> list[str]:
    """One key and its value, perhaps after the choice that has the key."""
    way = rng.random()
    if way < 0.22:
        group = pick(rng, [*options(), "variant", "experiment"])
        names = [*options().get(group, ("none", "lstm", "main", "gru", "long"))]
        return [f"{group}={pick(rng, names) if rng.random() < 0.7 else odd(rng)}"]
    if way < 0.34:
        return [f"{pick(rng, ODD_KEYS)}={odd(rng)}"]
    if way < 0.37:
        return [pick(rng, CALLBACKS)]
    if way < 0.40:
        return [odd(rng)]
    if way < 0.45:
        return [f"zip={_zip(rng)}"]
    key = pick(rng, [*fields()])
    field, choice = pick(rng, fields()[key])
    kind = field.annotation
    value = right_value(rng, kind) if rng.random() < 0.5 else odd(rng)
    sign = pick(rng, ("= ", " = ", "==", ":=")) if rng.random() < 0.05 else "="
    needed = [choice] if choice and rng.random() < 0.8 else []
    if rng.random() < 0.1 and field.default != MISSING:
        value = f"{value},{as_text(field.default)}"
    return [*needed, f"{key}{sign}{value}"]


def odd(rng: Rng) -> str:
    """An odd value; one in five is two of them, or one with a letter changed."""
    value = pick(rng, ODD)
    way = rng.random()
    if way < 0.1:
        return value + pick(rng, ("", ",", "[", " ")) + pick(rng, ODD)
    if way < 0.2 and value:
        at = int(rng.integers(len(value)))
        return value[:at] + pick(rng, "[]{}(),:'\"\\$=é\x00 0-") + value[at + 1 :]
    return value


def _zip(rng: Rng) -> str:
    pairs = []
    for _ in range(int(rng.integers(0, 4))):
        entries = [one for _ in range(int(rng.integers(0, 3))) for one in override(rng)]
        pairs.append("{" + ",".join(one.replace("=", ":", 1) for one in entries) + "}")
    return f"[{','.join(pairs)}]" if rng.random() < 0.8 else odd(rng)
