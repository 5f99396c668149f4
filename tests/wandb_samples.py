"""What a W&B copy holds, read from its file without W&B's own reader."""

import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest


VARIABLES = (
    "WANDB_API_KEY WANDB_MODE WANDB_DISABLED WANDB_DIR WANDB_PROJECT WANDB_ENTITY "
    "WANDB_NAME WANDB_NOTES WANDB_TAGS WANDB_RUN_GROUP WANDB_RUN_ID WANDB_SILENT"
).split()


def without_account(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an account nor any setting of W&B."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(folder / "none"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(folder / "config"))


def copies(root: Path) -> list[Path]:
    """The offline copies in a folder, the files that `wandb sync` reads."""
    return sorted(root.glob("wandb/offline-run-*/run-*.wandb"))


def content(file: Path) -> dict[str, Any]:
    """Settings of the run, and its history as (step, values without W&B's own)."""
    from wandb.proto import wandb_internal_pb2

    protocol: Any = wandb_internal_pb2  # its classes are made when it is imported

    deadline = time.monotonic() + 20  # W&B's own process completes the file.
    while True:
        records = []
        for block in _records(file.read_bytes()):
            record = protocol.Record()
            record.ParseFromString(block)
            records.append(record)
        if any(record.HasField("exit") for record in records):
            break
        assert time.monotonic() < deadline, file
        time.sleep(0.02)
    [run] = [record.run for record in records if record.HasField("run")]
    history = [record.history for record in records if record.HasField("history")]
    return {
        "id": run.run_id,
        "project": run.project,
        "entity": run.entity,
        "group": run.run_group,
        "name": run.display_name,
        "notes": run.notes,
        "tags": list(run.tags),
        "history": [
            {
                "/".join(item.nested_key) or item.key: json.loads(item.value_json)
                for item in one.item
                if not "".join([*item.nested_key, item.key]).startswith(
                    ("_runtime", "_timestamp")
                )
            }
            for one in history
        ],
    }


def _records(data: bytes) -> list[bytes]:
    """The whole records of a log in LevelDB's format, behind a header of 7 bytes."""
    found, parts, at = [], b"", 7
    while at + 7 <= len(data):
        room = 32768 - at % 32768
        if room < 7:
            at += room
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part of one
            found.append(parts)
            parts = b""
        elif kind == 0:
            break
    return found
