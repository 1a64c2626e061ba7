"""What clean patches do to the difficulty of all others, as a panel: the number, signed change, before and after."""

import html
import math

import numpy as np
from torch import Tensor

from app.components.difference import SIGNED_MAP, coloured, ramp
from pf_core.patches import PatchGrid
from pf_core.sampling.context_probe import Context
from pf_core.sampling.export import SIGMA_MAP, SIGMA_RANGE, sigma_colours

MOST = 8  # times: the signed map's ends; fixed, so that panels can be compared
_CLEAN = "#8a909c"
_NO = "\N{NO-BREAK SPACE}"


def panel(context: Context, grid: PatchGrid, where: str) -> str:
    """HTML. where: of which state this is, in words."""
    signed = (context.after - context.before) / 2  # of log sigma
    colours = _hex(coloured((signed / math.log(MOST) + 1).view(grid.rows, grid.cols) / 2, SIGNED_MAP))
    change = [colour if other else _CLEAN for colour, other in zip(colours, context.others.tolist(), strict=True)]
    words = [_patch_words(context, grid, p) for p in range(grid.n)]
    before, after = (_hex(sigma_colours(v)) for v in (context.before, context.after))
    low, high = SIGMA_RANGE
    sigma = [f"{low:g}", f"{math.sqrt(low * high):.2g}", f"{high:g}"]
    maps = (
        _map(
            "Change of sigma",
            change,
            words,
            context,
            grid,
            SIGNED_MAP,
            [f"{MOST}{_NO}times surer", "same", f"{MOST}{_NO}times less sure"],
        )
        + _map("Sigma before", before, words, context, grid, SIGMA_MAP, sigma)
        + _map("Sigma after", after, words, context, grid, SIGMA_MAP, sigma)
    )
    return (
        f'<div class="pfi-change"><div class="pfi-numbers" role="status">{_numbers(context)}</div>'
        f'<div class="pfi-maps">{maps}</div>'
        f'<p class="pfi-note">One forward pass at {html.escape(where)}; the conditional sigma. Blue: surer. Red: less '
        "sure. Grey: the clean patches themselves. A dot marks a hard patch.</p></div>"
    )


def _numbers(context: Context) -> str:
    """The numbers in words: geometric means, that is, the mean change of log sigma as a factor."""
    if not context.others.any():
        return "<p>All patches are clean: no other is left whose difficulty could change.</p>"
    rows = [
        (context.hard, context.change_hard, "hard patches"),
        (context.others, context.change_others, "patches, hard and easy"),
    ]
    return "".join(
        f"<p><b>{surer(change)}</b> about the {int(mask.sum())} other {kind}: their mean sigma goes from "
        f"{_mean(context.before, mask)} to {_mean(context.after, mask)}</p>"
        if mask.any()
        else "<p>None of the hard patches is left.</p>"
        for mask, change, kind in rows
    )


def _mean(logvar: Tensor, mask: Tensor) -> str:
    return _sigma(math.exp(logvar[mask].mean().item() / 2))


def surer(change: float) -> str:
    """A change of log difficulty in words: how many times surer, or less sure, the network is."""
    times = math.exp(min(abs(change) / 2, 50))
    if times < 1.005:
        return "As sure as before"
    often = f"{times:.2g}" if times < 9.95 else f"{times:.0f}" if times < 100 else "over 100"
    if often == "1":
        often = f"{times:.2f}"
    return f"{often} times {'surer' if change < 0 else 'less sure'}"


def _sigma(value: float) -> str:
    return f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def _patch_words(context: Context, grid: PatchGrid, p: int) -> str:
    place = f"Row {p // grid.cols + 1}, column {p % grid.cols + 1}"
    before, after = (_sigma(math.exp(v[p].item() / 2)) for v in (context.before, context.after))
    if not context.others[p]:
        return f"{place}: clean; its sigma was {before}"
    kind, words = "hard" if context.hard[p] else "easy", surer((context.after[p] - context.before[p]).item())
    words = words[0].lower() + words[1:]
    return f"{place}, {kind}: sigma {before} to {after}, {words}"


def _hex(pixels: np.ndarray) -> list[str]:
    """(..., 3) uint8 -> colours, row by row."""
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.asarray(pixels).reshape(-1, 3).tolist()]


def _map(
    title: str, colours: list[str], words: list[str], context: Context, grid: PatchGrid, palette: str, ticks: list[str]
) -> str:
    """A map whose patches say on pointing what they are."""
    cells = "".join(
        f'<g transform="translate({p % grid.cols} {p // grid.cols})"><rect width="1.02" height="1.02" fill="{colour}"/>'
        f"{_DOT if hard else ''}<title>{text}</title></g>"
        for p, (colour, text, hard) in enumerate(zip(colours, words, context.hard.tolist(), strict=True))
    )
    marks = "".join(f"<span>{tick}</span>" for tick in ticks)
    return (
        f'<figure><figcaption>{title}</figcaption><svg viewBox="0 0 {grid.cols} {grid.rows}" role="img" '
        f'aria-label="{title}, patch by patch">{cells}</svg>'
        f'<div class="pfi-scale"><div class="pfd-ramp" style="background: {ramp(palette)}"></div>'
        f'<div class="pfd-ticks">{marks}</div></div></figure>'
    )


_DOT = '<circle cx="0.5" cy="0.5" r="0.13" fill="#fff" stroke="#000" stroke-width="0.05"/>'


def nothing(sentence: str) -> str:
    """The panel where there is nothing to show."""
    return f'<p class="pfi-note" role="status">{html.escape(sentence)}</p>'


__all__ = ["nothing", "panel", "surer"]
