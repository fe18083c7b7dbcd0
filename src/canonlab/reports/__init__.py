"""Runs -> a table in the terminal, a page, figures, CSV or LaTeX."""

from canonlab.reports.export import write_csv, write_latex
from canonlab.reports.figures import require_figures, write_figures
from canonlab.reports.page import write_page
from canonlab.reports.profile import write_profile, write_strip
from canonlab.reports.table import terminal_tables

__all__ = [
    "require_figures",
    "terminal_tables",
    "write_csv",
    "write_figures",
    "write_latex",
    "write_page",
    "write_profile",
    "write_strip",
]
