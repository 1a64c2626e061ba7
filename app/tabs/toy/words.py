"""What the Toy tab says about its switches and views."""

from app.tabs.toy.plots import BENCHMARK, CALIBRATION, CLOCKS, DIFFERENCE, EXACT, PREDICTED, TIMES, VELOCITY

STOP_GRADIENT = (
    "The paper keeps the direct gradient of the NLL out of the velocity. Without the stop-gradient the velocity is "
    "also fitted with weight 1/variance: points with a small variance count most. Train to the end with it and without "
    "it: the dotted losses are those of the other training, and the line above the plots says what changed."
)
VIEW_HELP = {
    PREDICTED: "The standard deviation that the network predicts for the error of its velocity. Bright: from here a "
    "point can still end in many places. The colours mean the same at every t.",
    EXACT: "The exact value in closed form: the standard deviation of x1 - x0 for a given point. No network is used.",
    DIFFERENCE: "Red: the predicted sigma is too large, the network is less sure than it could be. Blue: it is too "
    "small, the network is too sure. White: it is right.",
    VELOCITY: "Purple: the network. Green: the exact velocity. If t_x and t_y differ, one coordinate is ahead of the "
    "other.",
    CALIBRATION: "Mean variances along trajectories drawn with Euler's method. A perfect head predicts the exact "
    "variance plus the squared error of the velocity.",
    CLOCKS: "The times of the two coordinates in every forward pass. Samplers that move easy patches ahead separate "
    "them within a step. Hollow diamonds on the trajectories are probes: states that the sampler leaves again.",
    TIMES: "The pairs of times that the network is trained on. It has learnt nothing about pairs that are not here.",
    BENCHMARK: "All samplers with their default settings, from the same starts, with at most this many evaluations. In "
    "brackets: how many each one used. Measured whenever the training pauses.",
}
