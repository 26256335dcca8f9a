"""Where the states of a study's trials lie, and which of them are still needed.

A trial's states are needed until it has ended, a trunk's until a later round than its forks' has
begun. They lie in the study's folder ``checkpoints/``; where workers do not share that disk, at a
URL (:mod:`planner.sweep.remote`). A proxy that can neither resume nor fork leaves no states there
but files of its own: those stay.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from planner.errors import SpaceError
from planner.ledger import Ledger
from planner.run import Round
from planner.sweep.remote import RemoteError, RemoteFolder


class Checkpoints:
    """The states of one study: a folder, and perhaps a URL. ``managed`` says that they may go."""

    def __init__(self, folder: Path, url: str | None = None, *, managed: bool = True) -> None:
        self.folder, self._managed = folder, managed
        self.url = url.rstrip("/") if url else None

    def probe(self) -> None:
        """Store and fetch a few bytes before anything is spent. Raises SpaceError."""
        if self.url is None:
            return
        if "://" not in self.url:
            raise SpaceError(f"checkpoints: {self.url} is no URL; write one such as s3://bucket/a")
        place = self.folder / "probe"
        try:
            remote = RemoteFolder(place, f"{self.url}/probe")
            remote.fetch()
            (place / "words").write_text("kept")
            remote.store()
            remote.fetch()
            kept = (place / "words").is_file()
            remote.remove()
        except (RemoteError, FileNotFoundError) as error:
            raise SpaceError(
                f"checkpoints cannot be kept at {error}. Mend the address or the access to it, or "
                "leave `checkpoints` out where all workers share the study's disk"
            ) from error
        finally:
            shutil.rmtree(place, ignore_errors=True)
        if not kept:
            raise SpaceError(f"checkpoints: {self.url} does not give back what was stored there")

    def place(self, key: str) -> str:
        """Return the folder of a trial's states."""
        return str(self.folder / key)

    def remote(self, key: str | None) -> str | None:
        """Return the URL of a trial's states, where there is one."""
        return f"{self.url}/{key}" if self.url and key else None

    def release(self, key: str) -> None:
        """Remove the states of a trial; what cannot be removed now goes with a later round."""
        if not self._managed:
            return
        shutil.rmtree(self.folder / key, ignore_errors=True)
        if self.url:
            with suppress(RemoteError, FileNotFoundError):
                RemoteFolder(self.folder / key, f"{self.url}/{key}").remove()

    def keep_only(self, needed: Collection[str]) -> None:
        """Remove the states of every trial but these."""
        if not self._managed:
            return
        present = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()
        if self.url:
            with suppress(RemoteError):
                present |= set(RemoteFolder(self.folder, self.url).names())
        for key in present - set(needed):
            self.release(key)


def needed_states(ledger: Ledger, step: Round, keys: Collection[str]) -> set[str]:
    """Return the trials whose states a round, or forks still to be asked for, may need.

    ``keys`` are those of the round's own trials.
    """
    forked = {trial.parent for entry in ledger.rounds for trial in entry.trials}
    trunks = {key for key, run in ledger.runs.items() if run.done and run.trial.keep_at}
    parents = {trial.parent for trial in step.trials if trial.parent is not None}
    return {*keys, *parents, *(trunks - forked)}
