"""Terms of the page, each explained in two sentences where it stands: the one table of them, and what serves it.

glossary.js marks them: a label, heading or caption that is one of a term's `labels`, and its `words` within the lines
that the viewer writes. Pointing at a mark, tapping or focusing it shows the text.
"""

from typing import Any, NamedTuple

from app.components.scripted import Scripted


class Term(NamedTuple):
    """name: how the explanation is headed. text: two plain sentences. labels: whole texts that are this term. words:
    what stands for it within a line."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


TERMS = {
    "t": Term(
        "Time t",
        "How far a patch has come from noise (t = 0) to image (t = 1). Here every patch has a time of its own.",
        ("time t", "t of all patches", "Guide from t", "Time of each patch"),
    ),
    "sigma": Term(
        "Difficulty, sigma (σ)",
        "The error that the network expects of its own prediction, patch by patch. Where sigma is small a patch is "
        "easy, where it is large the network does not know yet what will be there.",
        ("difficulty σ", "Change of sigma"),
    ),
    "extrapolated": Term(
        "Extrapolated sigma",
        "Under guidance the difficulty is extrapolated as the velocity is, and decides which patches are easy. It is "
        "no calibrated error any more: that is the conditional sigma beside it.",
        ("σ extrapolated",),
    ),
    "conditional": Term(
        "Conditional sigma",
        "The difficulty that the network itself predicts for the class, before guidance changes anything. It stays "
        "comparable with the true error.",
        ("σ conditional",),
    ),
    "easy": Term(
        "Easy and hard patches",
        "In each step the share p of patches with the smallest sigma is called easy, the rest hard. Easy patches go "
        "first, and the hard ones can look at them.",
        ("easy / hard", "easy patches", "hard patches"),
    ),
    "p": Term(
        "Share of easy patches, p",
        "Which share of the patches goes first in each step. At 0.4 they are the easiest 40 of 100, however sure or "
        "unsure the network is of them.",
        ("Easy patches, p", "Patches that go first, p"),
        ("p",),
    ),
    "ratio": Term(
        "Look-ahead ratio",
        "How far look-ahead moves the easy patches for its probe: from t to the ratio times t, at most to 1. A larger "
        "ratio shows the hard patches more of the future, but a less certain one.",
        ("Look-ahead ratio",),
        ("ratio",),
    ),
    "inner": Term(
        "Inner steps",
        "Into how many parts a step is divided for the hard patches; easy ones take it at once. Each part is one more "
        "evaluation of the network.",
        ("Inner steps", "inner pass"),
        ("n inner",),
    ),
    "order": Term(
        "Order of a step",
        "Order 1 is Euler's straight step along the present velocity. Order 2 also uses the velocity of the step "
        "before, which costs no further evaluation.",
        ("Order",),
        ("order",),
    ),
    "outer": Term(
        "Outer step",
        "One step of the time grid on the way from noise to image. Within it a sampler may evaluate the network once "
        "or several times.",
        ("At outer step", "outer pass"),
        ("outer steps",),
    ),
    "probe": Term(
        "Probe pass",
        "An evaluation with the easy patches moved ahead in time. It tells the hard patches what they will have for "
        "neighbours; then the move is taken back.",
        ("probe pass",),
    ),
    "context": Term(
        "Context probe",
        "One evaluation in which the painted patches are clean. It measures how much surer the network becomes of all "
        "the others.",
        ("Context probe",),
    ),
    "nfe": Term(
        "NFE, network function evaluations",
        "How many times the network is evaluated to draw an image. This is what a run costs, so samplers are compared "
        "at equal NFE.",
        ("NFE, each", "Budget", "NFE, each point"),
        ("NFE",),
    ),
    "forwards": Term(
        "Forwards",
        "Forward passes of the network. With guidance every evaluation takes two, one with the class and one without, "
        "so there are twice as many forwards as NFE.",
        (),
        ("forwards",),
    ),
    "token-forwards": Term(
        "Token-forwards",
        "Forwards, each counted by the share of the patches that passed through the network. There are fewer of them "
        "where hard patches pass alone, beside the keys and values that easy ones left.",
        (),
        ("token-forwards",),
    ),
    "moves": Term(
        "Patch moves",
        "How many times a patch was moved forward in time, counted over all patches of an image. Samplers of equal "
        "NFE can differ in it, as some passes only look.",
        (),
        ("patch moves",),
    ),
    "guidance": Term(
        "Guidance",
        "Classifier-free guidance strengthens the class: it moves the prediction away from what the network would draw "
        "without one. A scale of 1 is off; any other doubles the cost.",
        ("Guidance", "Guidance scale"),
        ("guidance",),
    ),
    "xt": Term(
        "State x_t",
        "The picture on its way, part noise and part image, as the network sees it in this pass. A patch with a small "
        "t is mostly noise.",
        ("xt",),
    ),
    "x1": Term(
        "Prediction x\N{COMBINING CIRCUMFLEX ACCENT}1",
        "The finished image as the network predicts it from this state in one step. Early on it is blurred, because "
        "much is still open.",
        ("x\N{COMBINING CIRCUMFLEX ACCENT}1",),
    ),
    "seed": Term(
        "Seed",
        "The number from which the noise at the start is drawn. The same seed with the same settings gives the same "
        "image again.",
        ("Seed", "Noise seed"),
    ),
    "sampler": Term(
        "Sampler",
        "The rule that turns noise into an image: which patches move when, and how far. All samplers here run on the "
        "same network.",
        ("Sampler", "Inference sampler"),
    ),
    "timesteps": Term(
        "Timestep sampler",
        "The rule by which training draws the times of the patches. A network only learns to handle the maps of t that "
        "it is shown here.",
        ("Timestep sampler",),
    ),
    "rms": Term(
        "RMS, root mean square",
        "The usual size of a difference: the root of the mean of its squares. Pixels run from -1 to 1, so 2 is the "
        "difference between black and white.",
        ("RMS of each patch",),
    ),
    "head": Term(
        "Difficulty head",
        "One more output of the network: for each patch, the variance that it expects of its error. Without it the "
        "network is a plain SiT, and no patch can be called easy.",
        ("Difficulty head",),
    ),
    "nll": Term(
        "Difficulty loss",
        "The negative log-likelihood (NLL) of the true error under the predicted sigma. It is lowest where sigma is "
        "as large as the error really is.",
        ("Weight of the difficulty loss",),
    ),
    "stop-gradient": Term(
        "Stop-gradient",
        "It keeps the difficulty loss from changing the predicted velocity. Otherwise the network could make its "
        "errors easier to predict instead of smaller.",
        ("Stop gradient", "Stop-gradient in the NLL"),
    ),
    "ema": Term(
        "Averaged weights (EMA)",
        "The network that draws is a moving average of the one that is trained, which wavers less. Closer to 1 means "
        "that more of the past steps count.",
        ("Weight averaging (EMA)",),
    ),
    "warmup": Term(
        "Warm-up",
        "Over the first steps the learning rate rises from 0 to its full value. This keeps the first, large gradients "
        "from spoiling the weights.",
        ("Warm-up",),
    ),
    "null-class": Term(
        "Dropped labels",
        "For this share of the pictures the network is not told the class. Guidance needs a network that can draw "
        "without one, too.",
        ("Dropped labels",),
    ),
    "frechet": Term(
        "Frechet distance",
        "How far drawn images are from real ones, as clouds of features that a judge sees in them. Less is better; "
        "compare it only where the data, the judge and the number of images are the same.",
        (),
        ("Frechet distance", "distance"),
    ),
    "interval": Term(
        "95% interval",
        "The images are drawn anew from those that were measured, again and again, and 95 in 100 of the numbers that "
        "come out are in this range. A difference whose interval holds 0 may be chance.",
        (),
        ("95% interval",),
    ),
    "spearman": Term(
        "Spearman correlation",
        "It asks whether two numbers put the patches in the same order: 1 if they do, 0 if one says nothing about the "
        "other. How large the numbers are makes no difference.",
        (),
        ("Spearman correlation", "Spearman"),
    ),
    "gap": Term(
        "Train-test gap",
        "The energy distance between the maps of t that training draws and those that inference visits, by their mean, "
        "maximum and spread. It is 0 where both are spread alike.",
        (),
        ("train-test gap", "Train-test gap", "energy distance"),
    ),
    "ltg": Term(
        "LTG, Logit-Normal Truncated Gaussian",
        "The method's law of times in training: an image's largest t is drawn first, then every patch's t below it. So "
        "it limits how much clean content a network is shown.",
        (),
        ("LTG",),
    ),
    "srm": Term(
        "SRM, Spatial Reasoning Models",
        "A law of times in training from other work, which draws an image's mean t evenly and the patches around it. "
        "With a higher sharpness s they stand closer to the mean.",
        (),
        ("SRM",),
    ),
    "random-order": Term(
        "Random order",
        "Dual-loop's control: as many patches go first, but which ones is drawn at random. What it gains over Euler is "
        "not owed to knowing which patches are easy.",
        (),
        ("random order",),
    ),
    "early-look-ahead": Term(
        "Early look-ahead",
        "Look-ahead without a probe from some t on. At 16 evaluations an image it drew better than look-ahead and "
        "Euler on toys; at 32 look-ahead did.",
        ("until",),
        ("early look-ahead",),
    ),
    "random-look-ahead": Term(
        "Random look-ahead",
        "Look-ahead's control: as many patches look ahead, but which ones is drawn at random. What it gains over Euler "
        "is not owed to knowing which patches are easy.",
        (),
        ("random look-ahead",),
    ),
}


class Glossary(Scripted):
    """The explanations of the page's terms. It takes no room; its value is the table."""

    module = "glossary.js"
    markup = '<div class="pf-glossary" hidden></div>'

    def __init__(self, **kwargs: Any):
        super().__init__({key: term._asdict() for key, term in TERMS.items()}, padding=False, **kwargs)
