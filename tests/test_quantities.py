"""Every quantity is declared once, in full, and computed where it says."""

import importlib

import numpy as np
import pytest
import xarray as xr

from rnnjax.quantities import COORDINATES, QUANTITIES, SUBJECTS
from rnnjax.report.probe_summary import summary
from scripts.quantities import DOCUMENT, document


def test_no_quantity_is_declared_twice():
    assert sum(map(len, SUBJECTS.values())) == len(QUANTITIES)


@pytest.mark.parametrize("name", QUANTITIES)
def test_a_declaration(name: str):
    quantity = QUANTITIES[name]
    assert quantity.definition and quantity.units
    assert set(quantity.dims) <= set(COORDINATES)
    if quantity.by:
        module, _, function = quantity.by.rpartition(".")
        found = importlib.import_module(f"rnnjax.probes.{module}")
        assert callable(getattr(found, function)), quantity.by


@pytest.mark.parametrize("name", [n for n, q in QUANTITIES.items() if q.label])
@pytest.mark.parametrize("layer", [True, False])
def test_a_label_is_a_row_of_the_table(name: str, layer: bool):
    quantity = QUANTITIES[name]
    dims = (*["layer"] * layer, *quantity.dims)
    values = xr.DataArray(np.ones([2] * len(dims)), dims=dims)
    names = {"layer": ["layer0", "layer1"]} if layer else {}
    rows = [row.quantity for row in summary(xr.Dataset({name: values}, names))]
    before = ["layer0: ", "layer1: "] if layer else [""]
    assert [row.partition(", ")[0] for row in rows] == [
        f"{text}{quantity.label}".partition(", ")[0] for text in before
    ]


def test_the_page_of_the_documentation_is_up_to_date():
    """If not: python -m scripts.quantities."""
    assert DOCUMENT.read_text() == document()
