"""The quantities of `rnnjax.probes`, collected in one data set with names and units."""
