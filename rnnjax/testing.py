"""Checks for your own tests: is this cell right, is this gradient right?

    from rnnjax.testing import check_cell, check_gradients

    def test_my_cell():
        check_cell(MyCell).raise_if_failed()

Each gives the rows of ``rnnjax check`` as a `rnnjax.checking.rows.Check`.
"""

from rnnjax.checking.cells import check_cell
from rnnjax.checking.gradients import GradientCheck, check_gradients


__all__ = ["GradientCheck", "check_cell", "check_gradients"]
