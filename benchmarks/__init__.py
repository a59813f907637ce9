"""Measurements of trio_sessions beside their floors: ``python -m benchmarks``.

* :mod:`benchmarks._works`: what is measured, made of the parts that :mod:`benchmarks._case` describes;
* ``_node``, ``_bare``, ``_simulated``, ``_echo``, ``echo.c``: the far ends, in processes of their own;
* ``_runner``, ``_child``: each run of a case in a process of its own, round by round;
* ``_results``, ``_statistics``, ``_compare``: the numbers as data;
* ``_table``, ``_plots``, ``_progress``, ``_command``: what people see.
"""
