"""Values written in Hydra's grammar, quoted if it would otherwise misread them.

Every value that becomes part of an override for Hydra goes through `quoted`: values of
an experiment, of a search, of one job's overrides, and folders of ``--config-dir``.
"""

import os
import re
import shlex
from collections.abc import Mapping
from typing import Any

from hydra._internal.grammar.utils import escape_special_characters
from hydra.core.override_parser.types import Quote, QuotedString


_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.:+@%-]*")
_OTHERWISE = {"null", "true", "false", "nan", "inf"}
"""Words that Hydra's grammar does not read as text, in upper or lower case."""

_CALL = re.compile(
    r"(range|choice|glob|sort|shuffle|tag|interval|int|float|str|bool)\(.*\)", re.DOTALL
)
_NAMED = re.compile(r"\.py:\w+")
_IN_QUOTES = re.compile(r"""(?:^|(?<=[\s,(\[{:=]))(['"])(?:\\.|(?!\1).)*\1""")


def quoted(value: Any) -> str:
    r"""A plain value written in Hydra's grammar, which reads it back unchanged.

    >>> quoted(["relu", 1e-3, None, True])
    '[relu,0.001,null,true]'
    >>> quoted({"path": "a,b (new).npz"})
    "{path:'a,b (new).npz'}"
    >>> quoted("3"), quoted(3), quoted("O'Brien")
    ("'3'", '3', "'O\\'Brien'")
    """
    if isinstance(value, list | tuple):
        return f"[{','.join(map(quoted, value))}]"
    if isinstance(value, Mapping):
        pairs = (
            f"{escape_special_characters(str(key))}:{quoted(entry)}"
            for key, entry in value.items()
        )
        return f"{{{','.join(pairs)}}}"
    if value is None:
        return "null"
    if not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _OTHERWISE:
        return value
    return QuotedString(value, Quote.single).with_quotes()


def quoted_unless_call(value: Any) -> str:
    """Like `quoted`, but ``range(9)`` and the like in a file remain sweeps."""
    if isinstance(value, str) and _CALL.fullmatch(value.strip()):
        return value.strip()
    return quoted(value)


def as_typed(key: str, text: str) -> str:
    """How to type `text` as the value of a key in a shell, quoted for shell and Hydra.

    >>> print(as_typed("out", "exp [v2]"))
    'out="exp [v2]"'
    """
    kind = Quote.single if '"' in text else Quote.double
    return shlex.quote(f"{key}={QuotedString(text, kind).with_quotes()}")


def quote_references(word: str, kinds: Mapping[str, Any], zipped: str) -> str:
    """An override with its references to users' files, ``dir (1)/f.py:Mine``, quoted.

    Commas and brackets may belong to a path or to the grammar. The longest text that
    ends in ``.py`` and is the path of an existing file is taken as the path; without
    one, the override is unchanged.

    Args:
        word: an override, ``key=value``.
        kinds: keys whose values are references.
        zipped: the key whose value contains such keys.
    """
    head, _, value = word.partition("=")
    key = head.strip().lstrip("+")
    if key in kinds:
        starts = re.compile(r"(?:^|[,(\[])\s*")
    elif key == zipped:
        starts = re.compile(rf"\b(?:{'|'.join(kinds)})\s*:\s*")
    else:
        return word
    spans = [found.span() for found in _IN_QUOTES.finditer(value)]
    outside = lambda at: not any(low < at < high for low, high in spans)
    done, at = "", 0
    for named in _NAMED.finditer(value):
        begins = (found.end() for found in starts.finditer(value, at))
        for begin in begins:
            path = value[begin : named.start()] + ".py"
            if not (begin < named.start() and outside(begin) and outside(named.end())):
                continue
            if os.path.isfile(os.path.expanduser(path)):
                done += value[at:begin] + quoted(value[begin : named.end()])
                at = named.end()
                break
    return f"{head}={done}{value[at:]}"
