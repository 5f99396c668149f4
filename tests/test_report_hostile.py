"""Pages about runs from somebody else: their texts stay texts, whatever they say."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from rnnjax.probes.adjoints.norms import JOINT
from rnnjax.report import build
from rnnjax.report.probe_page import write_page
from rnnjax.store import sealed_json
from rnnjax.store.environment import Git
from tests import report_samples
from tests.report_samples import ENVIRONMENT, VARIANTS, opinion_sweep
from tests.test_report_instruments import made


MARKUP = (
    "<script>alert(1)</script>",
    '"onload="alert(1)',
    "'onload='alert(1)",
    "</title></style></svg><img src=x onerror=alert(1)>",
    "--><script>alert(1)</script>",
    "{{ 'ran' * 3 }}",
)
"""Texts that would do something in a page that took them for markup."""

ALL = "".join(MARKUP)
ALONE = [pytest.param(text, marks=pytest.mark.slow) for text in MARKUP]


class Looker(HTMLParser):
    """Whatever could run, or load something, in a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.scripts = 0
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        if tag in ("iframe", "object", "embed", "base", "form", "foreignobject"):
            self.found.append(tag)
        for name, value in attrs:
            if name.startswith("on") or "javascript:" in (value or ""):
                self.found.append(f"{tag} {name}={value}")
            outside = not (value or "").startswith(("#", "data:image/png", "figures/"))
            if name in ("href", "src", "xlink:href") and outside:
                self.found.append(f"{tag} {name}={value}")


@pytest.mark.parametrize("text", [ALL, *ALONE])
def test_a_report_takes_nothing_for_markup(tmp_path, monkeypatch, text):
    """In names of variants, cells and settings, words, errors, versions, commands."""
    folder = tmp_path / "sweep"
    git = Git(text, dirty=True)
    versions = {text: text}
    changes = {"versions": versions, "device": text, "xla_flags": text, "git": git}
    told = ENVIRONMENT.__class__(**(vars(ENVIRONMENT) | changes))
    monkeypatch.setattr(report_samples, "ENVIRONMENT", told)
    monkeypatch.setitem(VARIANTS, text, VARIANTS["lstm"] | {"cell": text, "phi": text})
    monkeypatch.setitem(report_samples.REACH, text, 50)
    monkeypatch.setattr(report_samples, "OPENING", [text] * 4)
    config_of = report_samples.config_of
    settled = lambda variant, seed, task: config_of(
        variant, seed, task | {"form": text}
    )
    monkeypatch.setattr(report_samples, "config_of", settled)
    store = report_samples.store

    def failing(*arguments, **fields):
        if "error" in fields:
            fields |= {"error": text, "metric": text}
        return store(*arguments, **fields)

    monkeypatch.setattr(report_samples, "store", failing)
    opinion_sweep(folder, (text, "gru"), (4, 60), (0,))
    file = folder / "sweep.json"
    record = sealed_json.opened(file.read_text())
    file.write_text(sealed_json.sealed(record | {"name": text, "command": text}))
    looker = Looker(build(folder))
    assert looker.found == ["a href=runs.csv"] and looker.scripts == 1
    assert "ranranran" not in (folder / "report.html").read_text()


@pytest.mark.parametrize("text", [ALL, *ALONE[:2]])
def test_a_probe_page_takes_nothing_for_markup(tmp_path, text):
    data = made(layers=(text,))
    for name in [name for name in data.coords if data[name].dtype.kind in "UO"]:
        labels = np.array([f"{text}{i}" for i in range(data.sizes[name])], object)
        if name == "array":
            labels[0] = JOINT  # every data set has it
        data = data.assign_coords({name: labels})
    for variable in data.variables.values():
        variable.attrs = {"definition": text, "units": text, text: text}
    page = write_page(data, tmp_path, text, text)
    looker = Looker(page)
    assert looker.found == [] and looker.scripts == 1
