"""The page's heading, with the tour that drives the real controls."""

from app.components.scripted import Scripted


class Heading(Scripted):
    """The page's title, the link past the tabs, light or dark (heading.js), and the tour's button (tour.js)."""

    module = "tour.js"
    markup = """
<header class="pf-header"><a class="pf-skip" href="#main">Skip to Run</a><h1>Patch Forcing</h1>
<p>Denoising where every patch keeps its own time: easy patches run ahead and become context for the hard ones.</p>
<button type="button" class="pf-theme" role="switch" aria-checked="false">Dark</button>
<button type="button" class="pft-start">Take the tour</button></header>
"""
