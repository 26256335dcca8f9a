"""The real loop against a published table: how every policy of buying runs is judged.

    while rows := policy(offer, seen): buy them          closed rounds, the ledger in memory
    recommended = recommender(seen, target)              judged by planner.fit.regret

``pool`` holds the table, ``executor`` puts it under the sweep's own loop and ``buy`` runs it;
``policies`` and ``joint`` say which rows are bought (:mod:`planner.sweep.search` adds Optuna's),
``score`` sums up.
"""
