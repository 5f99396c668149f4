"""A Weights & Biases copy of a finished run; our own store stays the truth."""

import warnings
from typing import Any, Literal

from rnnjax.store.rundir import METRICS, RunDir


Mode = Literal["offline", "online", "disabled"]


def mirror(
    run: RunDir,
    *,
    mode: Mode = "offline",
    group: str | None = None,
    project: str = "rnnjax",
) -> bool:
    """Write one W&B run: id = identity, configuration, metrics by step, final numbers.

    Offline runs go to the folder ``wandb/`` of the pool and need no account;
    ``wandb sync`` uploads them later. Nothing is asked and nothing printed.

    Args:
        run: a finished run directory.
        mode: "online" needs an account that `wandb login` knows.
        group: the name of the sweep.
        project: the W&B project.

    Returns:
        Whether W&B took the copy; its own process completes the file, moments after an
        offline run. A failure is a warning, never an exception.
    """
    if mode == "disabled":
        return False
    try:
        _mirror(run, mode, group, project)
    except Exception as error:
        reason = str(error).splitlines() or [type(error).__name__]
        warnings.warn(f"no W&B copy of '{run.path}': {reason[0]}", stacklevel=2)
        return False
    return True


def _mirror(run: RunDir, mode: Mode, group: str | None, project: str) -> None:
    import wandb  # Half a second that a run without a mirror does not pay.

    # Without this, going online on a terminal asks for a key and waits.
    if mode == "online" and not wandb.login(prompt=False):
        raise RuntimeError("no account is known, run `wandb login` once")
    manifest = run.manifest()
    session = wandb.init(
        project=project,
        id=manifest.identity,
        name=manifest.name,
        group=group,
        config=run.config(),
        dir=str(run.path.parent),
        mode=mode,
        resume="allow" if mode == "online" else None,
        reinit="create_new",
        settings=wandb.Settings(
            silent=True,
            console="off",
            save_code=False,
            disable_git=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        ),
    )
    try:
        for step, row in _history(run):
            session.log(row, step=step)
        session.summary.update(manifest.results)
        session.summary.update(
            {"status": manifest.status, "diverged_at": manifest.diverged_at}
        )
    except BaseException:
        session.finish(exit_code=1)
        raise
    session.finish(exit_code=0 if manifest.is_finished else 1)


def _history(run: RunDir) -> list[tuple[int, dict[str, Any]]]:
    """Metrics by training step, ascending, without what a step did not record."""
    if not run.has(METRICS):
        return []
    rows = run.metrics().sort("step", maintain_order=True).to_dicts()
    return [
        (row.pop("step"), {name: v for name, v in row.items() if v is not None})
        for row in rows
    ]
