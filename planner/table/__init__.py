"""Runs tables in and out (contracts.md section 5): everything a user of tables imports."""

from planner.table.read import RunsTable, read_attempts, read_runs
from planner.table.write import ImportReport, import_runs

__all__ = ["ImportReport", "RunsTable", "import_runs", "read_attempts", "read_runs"]
