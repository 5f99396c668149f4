"""The figures of a sweep's report, one module each: tables in, a `Drawing` out.

A figure is None if there is no data. The tables are those of
`rnnjax.report.flow.Flow` and `rnnjax.report.runs.Runs`; `palette` has a look for each
variant, `axis` and `metric` are what the distance and the metric are called.
"""
