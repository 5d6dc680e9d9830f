"""Figure 3: the learning rate at every step in every interpretation, as the training loop asks for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, get_args, get_type_hints

from reidkit.plots.style import GROUPS, SMALL, SOFT, WORDS, new_figure, style_axes
from reidkit.recipe import Optim
from reidkit.recipes.luo2019.interpretations import interpret
from reidkit.recipes.luo2019.ladder import STANDARD, STRONG
from reidkit.train.optimizer import build_schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Dashes = str | tuple[int, tuple[float, ...]]

STEPS = 186
"""Steps of an epoch on Market-1501 (P x K = 16 x 4): what a warm-up counted in steps is drawn with."""

SAMPLES = 31
"""Steps of an epoch that are drawn; a divisor of `STEPS`."""

LOOKS: tuple[tuple[str, Dashes, float], ...] = (
    (SOFT, "-", 7),
    (GROUPS[0], "-", 2.4),
    (GROUPS[1], (0, (5, 2)), 2.4),
    (GROUPS[2], (0, (1.5, 1.5)), 2.4),
    (GROUPS[3], (0, (6, 2, 1, 2)), 2.4),
    (GROUPS[4], (0, (3, 1)), 2.4),
)


class Curve(NamedTuple):
    """A schedule as a line: `epochs`, where epoch 7 reaches from 6.5 to 7.5, and the rate there."""

    optim: Optim
    epochs: list[float]
    rates: list[float]


def curves() -> dict[str, Curve]:
    """Return every form that `optim.warmup` has, fast-reid's schedule, and the one without a warm-up."""
    forms = get_args(get_type_hints(Optim)["warmup"])
    optims = {"no warm-up": STANDARD.optim}
    optims |= {f"warm-up: {name}": replace(STRONG.optim, warmup=name) for name in forms}
    optims["fast-reid"] = interpret(STRONG, "fast-reid").optim
    return {name: _curve(optim) for name, optim in optims.items()}


def figure() -> Figure:
    """Return all epochs with a logarithmic rate on the left, the warm-up with a linear one on the right."""
    drawn = curves()
    made = new_figure(12.0, 5.2)
    whole, start = made.subplots(1, 2, width_ratios=[3, 2])
    warmup = STRONG.optim.warmup_epochs
    _draw(whole, drawn, max(curve.optim.epochs for curve in drawn.values()))
    whole.set_yscale("log")
    steady = drawn["no warm-up"].rates
    style_axes(whole, x="epoch", y="learning rate", title="The whole run", finding=_drops(drawn))
    whole.set_yticks(sorted(set(steady)), [f"{rate:.1e}".replace("e-0", "e-") for rate in sorted(set(steady))])
    whole.minorticks_off()
    whole.legend(frameon=False, labelcolor=SOFT, fontsize=WORDS, loc="upper right")
    _draw(start, drawn, warmup + 5)
    start.set_ylim(bottom=0)
    start.yaxis.set_major_formatter(lambda rate, _: f"{1e4 * rate:.1f}")
    rise = drawn[f"warm-up: {STRONG.optim.warmup}"].rates
    first, last = (f"{rate:.1e}".replace("e-0", "e-") for rate in (rise[0], max(rise)))
    start.axvline(warmup + 0.5, color=SOFT, linewidth=0.8, linestyle=(0, (2, 3)))
    words = {"textcoords": "offset points", "color": SOFT, "fontsize": SMALL}
    start.annotate(f"end of epoch {warmup}", (warmup + 0.5, 0), (5, 6), **words)
    finding = f"{STRONG.optim.warmup}: from {first} to {last} in {warmup} epochs"
    style_axes(start, x="epoch", y="learning rate / 0.0001", title="The warm-up, linear scale", finding=finding)
    return made


def _drops(drawn: dict[str, Curve]) -> str:
    """After which epochs the rate falls, for each schedule that has its own."""
    names: dict[tuple[int, ...], str] = {}
    for name, curve in drawn.items():
        names.setdefault(curve.optim.drops, "all" if not names else name)
    first, *others = ((name, " and ".join(map(str, drops))) for drops, name in names.items())
    text = f"a {1 / STRONG.optim.gamma:g}th after epochs {first[1]}"
    return "; ".join((text, *(f"{name} {epochs}" for name, epochs in others)))


def _curve(optim: Optim) -> Curve:
    places = [(epoch, STEPS // SAMPLES * i) for epoch in range(1, optim.epochs + 1) for i in range(SAMPLES)]
    epochs = [epoch - 0.5 + step / STEPS for epoch, step in places]
    return Curve(
        optim, epochs, [build_schedule(optim).rate(epoch, (epoch - 1) * STEPS + step) for epoch, step in places]
    )


def _draw(axes: Axes, drawn: dict[str, Curve], epochs: int) -> None:
    """One line each; the first is wide and pale, so that lines which lie on each other can all be seen."""
    for number, (name, curve) in enumerate(drawn.items()):
        colour, dashes, width = LOOKS[number % len(LOOKS)]
        shown = epochs * SAMPLES
        x, y, alpha = curve.epochs[:shown], curve.rates[:shown], 0.3 if number == 0 else 1
        axes.plot(x, y, label=name, color=colour, linestyle=dashes, linewidth=width, alpha=alpha)
    axes.margins(x=0.02)
