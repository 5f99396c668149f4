"""Limits on the number of jobs, checked before any job is made."""

from collections.abc import Sequence

from rnnjax.checks import check_range
from rnnjax.devices import free_host_memory
from rnnjax.errors import UserError
from rnnjax.sweeps.grid import ZIP
from rnnjax.sweeps.schema import Field
from rnnjax.sweeps.settings import LaunchSettings
from rnnjax.training.sizes import in_bytes


JOB_BYTES = 8_000
"""Memory of one composed job."""

LONGEST_LIST = 10_000
"""Most entries of a list ``[…]`` on the command line. The time to parse it grows with
the square of their number, and is 20 s for this many."""


def max_jobs(overrides: Sequence[str]) -> int:
    """How many jobs a command may have, according to its last ``max_jobs=N``.

    Raises:
        UserError: N is not a positive whole number.
    """
    given = [text for text in overrides if text.partition("=")[0] == "max_jobs"]
    if not given:
        return LaunchSettings.max_jobs
    limit = Field("max_jobs", int).check(given[-1].partition("=")[2])
    check_range("max_jobs", limit, 1)
    return limit


def check_count(
    count: int,
    limit: int = LaunchSettings.max_jobs,
    who: str = "the command",
    what: str = "jobs",
) -> None:
    """Refuse a command with too many jobs, before any job is made.

    Raises:
        UserError: there are more than `limit` jobs, or more than fit in memory.
    """
    if count > limit:
        raise UserError(
            f"{who} has {_in_words(count)} {what}; one command may have at most "
            f"{limit:,} jobs; set max_jobs=N to allow more"
        )
    if (needed := count * JOB_BYTES) > (free := free_host_memory()):
        raise UserError(
            f"{who} has {_in_words(count)} {what}, which need at least "
            f"{in_bytes(needed)} of memory, and {in_bytes(free)} is free"
        )


def check_list(text: str, limit: int) -> None:
    """Raise a `UserError` if the list in an override is too long to be parsed."""
    key, _, value = text.partition("=")
    count = value.count(",") + 1
    if key != ZIP and value.startswith("[") and count > LONGEST_LIST:
        raise UserError(
            f"'{value[:20]}…' is a list of {count:,} entries for {key}; a list on the "
            f"command line may have at most {LONGEST_LIST:,}"
        )
    if value[:1] not in ("[", "{"):
        check_count(count, limit, f"'{text[:20]}…'", "values")


def _in_words(count: int) -> str:
    return f"{count:,}" if count < 10**15 else f"about 1e{len(str(count)) - 1}"
