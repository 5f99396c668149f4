"""Instruments: the figures of the page of one probe, one for each kind of quantity.

Every function in `rnnjax.report.probe_figures.INSTRUMENTS` takes a data set (of `rnnjax
probe`, of `rnnjax.probe`, or a run's ``probes.nc``) and gives a figure, or None where
it lacks the variables. Of a run's probes the last measurement is drawn, but for
`gradient_over_training`.
"""
