"""Pre-flight checks: what should hold before a study's money is spent. One file per question."""
