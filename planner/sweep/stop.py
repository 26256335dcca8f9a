"""Being asked to stop: Ctrl-C, ``kill``, the end of a SLURM job, a node taken back.

The first SIGINT or SIGTERM is a wish that the driver grants between two events, when nothing is
half written; the second ends it where it stands.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)

LEAVE_SECONDS = 20.0
"""How long trials may take to save their state: SLURM and Kubernetes kill after 30 s."""


class StopWish:
    """Within its ``with`` block ``asked`` says whether a signal came; in a main thread only.

    A signal that is ignored, as Ctrl-C is by jobs in the background, stays ignored. While
    ``at_once`` is set, as when a person is asked something, the first one ends it too.
    """

    def __init__(self) -> None:
        self.asked = self.at_once = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            heard = [n for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked or self.at_once:
            raise KeyboardInterrupt
        self.asked = True
