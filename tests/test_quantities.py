"""Every quantity is declared once, in full, and computed where it says."""

import importlib

import pytest

from rnnjax.quantities import COORDINATES, QUANTITIES, SUBJECTS
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


def test_the_page_of_the_documentation_is_up_to_date():
    """If not: python -m scripts.quantities."""
    assert DOCUMENT.read_text() == document()
