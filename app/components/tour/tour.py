"""The page's heading, with the tour that drives the real controls, and the page's address."""

from app.components.scripted import Scripted


class Heading(Scripted):
    """The page's title, the link past the tabs, light or dark, and a link to copy (heading.js), and the tour's button
    (tour.js); the buttons are off until the script is here. Event `travelled`, {"query": text, "turn": number}: Back or
    Forward came to an entry that shows something else."""

    module = "tour.js"
    may_trigger = ("travelled",)
    markup = """
<header class="pf-header"><a class="pf-skip" href="#main">Skip to Run</a><h1>Patch Forcing</h1>
<p>Denoising where every patch keeps its own time: easy patches run ahead and become context for the hard ones.</p>
<button type="button" class="pf-link" disabled>Copy link</button>
<button type="button" class="pf-theme" role="switch" aria-checked="false" disabled>Dark</button>
<button type="button" class="pft-start" disabled>Take the tour</button>
<p class="pf-copied" role="status"></p></header>
"""
