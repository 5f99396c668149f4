"""Launchers that work in this process."""

from rnnjax.sweeps.launchers.order import Order
from rnnjax.sweeps.work import Work


def packed(order: Order) -> int:
    """Runs of one signature share a program; each pack spreads over the devices."""
    work = Work(order.settings, order.group, order.progress, copies=order.copies)
    return work.do(order.planned, order.rows, order.unfinished)


def basic(order: Order) -> int:
    """One run after another, in the order of the jobs; programs are shared."""
    work = Work(order.settings, order.group, order.progress, copies=order.copies)
    packs = [
        pack
        for one in order.left
        for pack in work.packs([one], order.rows, {one.identity})
    ]
    return work.run(packs, order.unfinished, order.there)
