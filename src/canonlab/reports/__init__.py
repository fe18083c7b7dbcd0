"""Runs -> a table in the terminal, a page, or plain data."""

from canonlab.reports.load import Run, load_runs
from canonlab.reports.page import write_page
from canonlab.reports.plain import summary
from canonlab.reports.table import terminal_tables

__all__ = ["Run", "load_runs", "summary", "terminal_tables", "write_page"]
