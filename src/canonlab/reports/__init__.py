"""Runs -> a table in the terminal, a page, figures, CSV, LaTeX, or plain data."""

from canonlab.reports.export import write_csv, write_latex
from canonlab.reports.figures import require_figures, write_figures
from canonlab.reports.page import write_page
from canonlab.reports.table import terminal_tables
from canonlab.results.load import Run, load_runs
from canonlab.results.summary import summary

__all__ = [
    "Run",
    "load_runs",
    "require_figures",
    "summary",
    "terminal_tables",
    "write_csv",
    "write_figures",
    "write_latex",
    "write_page",
]
