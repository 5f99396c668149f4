"""How names and numbers are written for people."""

import hashlib
import math
import re

from rnnjax.errors import shown


_CELLS = "coRNN Elman expRNN GRU IndRNN LEM LRU LSTM minGRU RHN RNN uRNN".split()
SPELLING = {name.lower(): name for name in [*_CELLS, "ELU", "GELU", "ReLU"]}

MINUS = "−"
_SUPERSCRIPTS = str.maketrans("-−0123456789.", "⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹·")


def display(name: str) -> str:
    """The name of a variant or a cell as it is written in text.

    >>> display("elman_leaky_relu")
    'Elman leaky ReLU'
    >>> display("lstm-tanh")
    'LSTM tanh'
    """
    words = re.split(r"[_\-]+", name)
    return " ".join(SPELLING.get(word, word) for word in words)


NAME, WORD = 120, 24
"""Letters of a name, and of a word of a sentence, that a figure has room for."""


def label(text: str, longest: int = NAME) -> str:
    """A name or a word of the user's as a figure can show it, for one line.

    Control characters are escaped. A text that is too long ends in a digest of it, so
    that two of them stay two.

    >>> label("$x$\\n"), label("x" * 99, 16)
    ('$x$\\\\n', 'xxxxxxxxx…d0621f')
    """
    plain = shown(text)
    if len(plain) <= longest and len(text) <= longest:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{plain[: longest - 7]}…{digest[:6]}"


def slug(text: str) -> str:
    """A text as part of the name of a file.

    >>> slug("form=next_word, 2")
    'form_next_word__2'
    """
    plain = "".join(c if c.isalnum() else "_" for c in text).strip("_")
    if len(plain.encode()) <= 100:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{plain.encode()[:90].decode(errors='ignore')}_{digest[:6]}"


def number(value: float | None, digits: int = 2) -> str:
    """A number with a fixed number of digits and a real minus sign; "–" for none.

    >>> number(-0.637, 3)
    '−0.637'
    >>> number(float("-inf"))
    '−∞'
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def score(value: float | None, is_share: bool = True) -> str:
    """A metric: a share of 1 with two digits, an error with three that count.

    A share is never rounded to 0 or to 1.

    >>> score(0.987), score(0.9996), score(1.0), score(0.00321, is_share=False)
    ('.99', '.9996', '1.00', '0.00321')
    """
    if value is None or math.isnan(value):
        return "–"
    if not is_share:
        return f"{value:.3g}".replace("-", MINUS)
    digits = 2
    while digits < 6 and 0 < value < 1 and round(value, digits) in (0.0, 1.0):
        digits += 1
    return number(value, digits).replace("0.", ".", 1)


def span(low: float, high: float, is_share: bool = True) -> str:
    """A range of a metric, or one value if both ends are written alike.

    >>> span(0.49, 0.512)
    '.49–.51'
    >>> span(1.0, 1.0)
    '1.00'
    """
    ends = score(low, is_share), score(high, is_share)
    return ends[0] if ends[0] == ends[1] else "–".join(ends)


def horizon_text(horizon: float, stays_below: float, last: int) -> str:
    """A memory horizon; with the lag from which on less is left, where that is another.

    Args:
        horizon, stays_below: see `rnnjax.probes.adjoints.decay.Decay`.
        last: the largest lag that was measured.

    >>> horizon_text(7.0, 9.0, 39), horizon_text(math.inf, math.inf, 39)
    ('7, for good 9', '> 39')
    """
    lags = [horizon, stays_below] if stays_below > horizon else [horizon]
    texts = [f"> {last}" if math.isinf(lag) else whole(lag) for lag in lags]
    return ", for good ".join(texts)


def power(exponent: float) -> str:
    """A power of ten, its exponent rounded.

    >>> power(-44.9)
    '10⁻⁴⁵'
    """
    return "10" + superscript(f"{exponent:.0f}".replace("-0", "0"))


def superscript(number: str) -> str:
    """A whole number as a superscript.

    >>> superscript("-12")
    '⁻¹²'
    """
    return number.translate(_SUPERSCRIPTS)


def whole(value: float | None) -> str:
    """A number without a fraction if it has none.

    >>> whole(100.0), whole(0.5), whole(None)
    ('100', '0.5', '')
    """
    return "" if value is None else f"{value:g}"


def listing(items: list[str]) -> str:
    """Items with commas and a last "and".

    >>> listing(["LSTM", "GRU", "LEM"])
    'LSTM, GRU and LEM'
    """
    return (
        " and ".join(filter(None, [", ".join(items[:-1]), items[-1]])) if items else ""
    )
