"""What is measured rather than asserted: run by ``make bench-*``, each prints its figures."""
