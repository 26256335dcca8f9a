"""The seam between the planner and whatever trains: two methods, no base class.

A proxy says how large a shape is (cheap, asked before anything is spent) and trains one trial. Only
plain data and the proxy's *name* cross a process boundary; :func:`load_proxy` turns a name into the
object on the other side. Names are ``gpt`` (shipped), ``package.module:object`` or
``file.py:object``; the object is called with the data source and the options of the YAML.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from planner.errors import SpaceError, UsageError
from planner.run import Status, Trial
from planner.shape import ModelShape, Size

UNFIT = (TypeError, ValueError, LookupError, AttributeError, OverflowError)
"""What a proxy may raise over options or a size that it has not looked at itself."""


class StopTrial(Exception):
    """Raised by ``ctx.report`` to stop a hopeless or cancelled trial; let it pass through."""


class Preempted(StopTrial):
    """Raised when the machine is wanted back: save the state, then pass it on.

    It comes from ``ctx.report`` and ``ctx.give_way``. The point reported counts, and the trial is
    tried again from what its checkpoint folder holds.
    """


class Context(Protocol):
    """What a trial may use."""

    checkpoint_dir: Path
    """A folder of this trial alone; what lies in it survives a restart of the trial.

    With capability ``resume`` or ``fork`` it is removed once the trial has ended and no fork needs
    its states; without, it is the proxy's own and stays.
    """

    parent: Path | None
    """The checkpoint folder of the trunk a fork starts from.

    Of files whose names hold ``tokens-N``, N the tokens of a state, only those of the fork's own
    state need be there.
    """

    device: str
    """``cpu``, ``cuda:0`` ..."""

    alike: Mapping[int, int]
    """New tokens, by tokens of a batch, of the trials of this shape that are decided so far.

    This trial's are among them; empty where no study is known. They are the same on every executor
    and at every attempt, so what is worth preparing for a trial may be decided by them.
    """

    def report(self, *, tokens: int, loss: float, **values: float) -> None:
        """Record a point of the curve (train loss); raises StopTrial when the trial must end.

        A trial that resumes reports the points before its saved state once more.
        """
        ...

    def heed(self) -> None:
        """Raise StopTrial when the trial must end: for proxies that wait between reports."""
        ...

    def resumed(self, tokens: int) -> None:
        """Say that training goes on from a state at ``tokens``: what lies before is paid for."""
        ...

    def give_way(self, tokens: int) -> None:
        """Raise Preempted where the machine is wanted back; so cheap that every step may ask.

        For who need not wait for the next report: a state saved at ``tokens`` is one to go on from.
        """
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial: see :class:`planner.run.Run` for the meaning of the fields."""

    status: Status
    loss: float
    loss_se: float
    tokens: int
    note: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


class Proxy(Protocol):
    """Anything that can be sized and trained.

    ``capabilities`` declares what the proxy can do beyond training from scratch: ``"fork"`` (start
    from a trunk's checkpoint), ``"resume"`` (continue from its own checkpoint folder),
    ``"finder"`` (an LR range test), ``"coordinates"`` (see :class:`CoordinateProxy`),
    ``"train_many"`` (see :class:`StackingProxy`), ``"compiles"`` (see :class:`CompilingProxy`),
    ``"subset"`` (a shape's ``unique`` bounds the data its run may see, and metrics tell
    ``unique_tokens``) and
    ``"noise_scale"``: where its options ask for it, curves hold grad_sq_small and grad_sq_big,
    squared norms of unclipped mean gradients at the same weights, and metrics batch_small,
    batch_big (tokens) and measured_tokens (what that cost besides). ``recipe`` is the proxy's
    share of every trial key: its version, the hashes of training and evaluation data, precision,
    parametrisation; asking for it may prepare the data. Where the proxy's tokens are none, the
    recipe says what they are as ``unit`` (:mod:`planner.words`); a proxy that cannot make every
    batch names the smallest there as ``least_batch``; an ``optimizer`` that is not Adam's kind gets
    beliefs that owe nothing to published AdamW runs.
    """

    capabilities: frozenset[str]

    def size(self, shape: Mapping[str, Any]) -> Size:
        """Return parameters and FLOPs per token; SpaceError for an impossible shape."""
        ...

    def recipe(self) -> Mapping[str, Any]:
        """Return plain data that identifies what this proxy trains on and how."""
        ...

    def train(self, trial: Trial, ctx: Context) -> Outcome:
        """Train one trial to its end, reporting along the way."""
        ...


class TransformerProxy(Proxy, Protocol):
    """A proxy whose shapes are transformers: the plan can then name a buildable target shape."""

    def model_shape(self, shape: Mapping[str, Any]) -> ModelShape:
        """Return the full shape behind a size of the YAML."""
        ...


class CoordinateProxy(Proxy, Protocol):
    """A proxy with the capability ``"coordinates"``: it can measure its own activations."""

    def coordinates(self, trial: Trial) -> Mapping[str, Sequence[float]]:
        """Train a short trial; return, per kind of layer, the RMS of its outputs after each step.

        Every sequence has ``trial.steps`` entries; 0 while a layer puts out nothing but zeros.
        """
        ...


class CompilingProxy(Proxy, Protocol):
    """A proxy with the capability ``"compiles"``: it runs some of its trials as compiled code.

    Their metrics tell ``compiled``: 1, and their pace is not that of the others.
    """

    def compiles(self, trial: Trial, device: str, alike: Mapping[int, int]) -> bool:
        """Say whether a trial will run compiled code; ``alike`` as in :class:`Context`."""
        ...


class StackingProxy(Proxy, Protocol):
    """A proxy with the capability ``"train_many"``: it trains several trials as one batched model.

    The executors ask it which queued trials of a round belong together, and hand them over in one
    call. Only first attempts are stacked: whatever is tried again is tried alone, from the state
    its own checkpoint folder holds. What comes of a trial must not depend on its stack beyond
    rounding.
    """

    def stack_key(self, trial: Trial, device: str) -> str | None:
        """Return a name: trials of one name may be stacked on ``device``; None: alone."""
        ...

    def stack_size(self, trial: Trial, device: str) -> int:
        """Return the most trials like this one worth stacking on ``device``; 1: alone."""
        ...

    def train_many(
        self, trials: Sequence[Trial], contexts: Sequence[Context]
    ) -> Sequence[Outcome | None]:
        """Train trials of one stack key side by side; return what came of each, in their order.

        Each trial reports to its own context. None stands for one whose report raised StopTrial: it
        leaves the stack and the others go on. Preempted ends the call and passes through. Any other
        exception gives the stack up, and its trials are tried again one by one.
        """
        ...


@dataclass(frozen=True, slots=True)
class ProxySpec:
    """All that is needed to make a proxy anywhere: plain data."""

    name: str
    data: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def load_proxy(spec: ProxySpec) -> Proxy:
    """Make the proxy a spec names. Raises UsageError or SpaceError with what to write instead."""
    factory = _factory(spec.name)
    if not callable(factory):
        raise UsageError(
            f"proxy {spec.name} is {factory!r:.80}: name the class itself, or a function that "
            "makes the proxy from `data` and the options"
        )
    try:
        inspect.signature(factory).bind(data=spec.data, **spec.options)
    except TypeError as error:
        known = ", ".join(p for p in inspect.signature(factory).parameters if p != "data")
        raise SpaceError(
            f"proxy {spec.name}: {error}; the options it knows are: {known or 'none'}"
        ) from None
    try:
        return factory(data=spec.data, **spec.options)
    except UNFIT as error:
        raise SpaceError(f"proxy {spec.name} cannot be made with its options: {error!r}") from error


def _factory(name: str) -> Callable[..., Proxy]:
    return cast(Callable[..., Proxy], named_object(name)) if ":" in name else _registered(name)


def named_object(name: str) -> Any:  # noqa: ANN401 (whatever the user's module holds)
    """Return the object ``package.module:object`` or ``file.py:object`` names; else UsageError."""
    place, _, attribute = name.rpartition(":")
    module = _from_file(Path(place)) if place.endswith(".py") else _from_package(place)
    if not hasattr(module, attribute):
        raise UsageError(f"proxy {name}: {place} has no `{attribute}`")
    return getattr(module, attribute)


def _registered(name: str) -> Callable[..., Proxy]:
    """Find a shipped or installed proxy by its entry point ``planner.proxies``."""
    found = {point.name: point for point in entry_points(group="planner.proxies")}
    if name not in found:
        raise UsageError(
            f"there is no proxy named {name!r}; known: {', '.join(sorted(found))}; "
            "your own: `package.module:object` or `file.py:object`"
        )
    return cast(Callable[..., Proxy], found[name].load())


def _from_package(place: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ImportError as error:
        raise UsageError(f"the proxy's module {place} cannot be imported: {error}") from error


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"planner_user_proxy_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UsageError(f"the proxy's file {path} does not exist")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
