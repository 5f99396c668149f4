"""The rows of a check: what was examined, the verdict, and what to do about it."""

import dataclasses
import json
from typing import Any, Literal


Verdict = Literal["passed", "failed", "note"]

MARKS: dict[str, str] = {"passed": "ok", "failed": "FAILED", "note": ""}


@dataclasses.dataclass(frozen=True)
class Row:
    """One thing that was examined.

    Attributes:
        group: what `--only` names, such as ``gradients``.
        name: what was examined, in a few words.
        verdict: `note` for a number that is neither right nor wrong.
        found: what was found: numbers with their bound, or one sentence.
        hint: for a failure: the line or the argument, the cause, and what to write
            instead.
    """

    group: str
    name: str
    verdict: Verdict
    found: str
    hint: str = ""


@dataclasses.dataclass(frozen=True)
class Check:
    """All rows of a check; prints as a table.

    Attributes:
        of: name of what was checked.
        rows: in the order in which they should be read.
    """

    of: str
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether no row failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows that failed."""
        return tuple(row for row in self.rows if row.verdict == "failed")

    def raise_if_failed(self) -> None:
        """Raise an error that lists every failure; for use in tests.

        Raises:
            AssertionError: a row failed.
        """
        if not self.passed:
            raise AssertionError(f"{self.of} does not pass:\n{self}")

    def to_json(self) -> str:
        """``{"of", "passed", "rows": [{"group", "name", "verdict", …}]}``, indented."""
        rows = [dataclasses.asdict(row) for row in self.rows]
        entries: dict[str, Any] = {"of": self.of, "passed": self.passed, "rows": rows}
        return json.dumps(entries, indent=1, ensure_ascii=False)

    def __str__(self) -> str:
        """One line for each row, and below a failure its hint.

        >>> print(Check("f", (Row("values", "outputs", "passed", "equal"),)))
        ok      values     outputs: equal
        """
        lines = []
        for row in self.rows:
            lines.append(
                f"{MARKS[row.verdict]:7} {row.group:10} {row.name}: {row.found}"
            )
            if row.hint:
                lines.append(f"{'':8}{row.hint}")
        return "\n".join(lines)
