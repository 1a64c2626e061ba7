"""What the Toy tab says about its switches and views."""

from app.tabs.toy.plots import BENCHMARK, CALIBRATION, CLOCKS, DIFFERENCE, EXACT, PREDICTED, TIMES, VELOCITY

STOP_GRADIENT = (
    "The paper keeps the NLL's direct gradient out of the velocity. Without the stop-gradient the velocity is also "
    "fitted with weight 1/variance: points with a small variance count most. Train to the end with it and without it: "
    "the dotted losses are those of the other training, and the line above the plots says what changed."
)
VIEW_HELP = {
    PREDICTED: "The standard deviation that the network predicts for its velocity's error. Bright: it cannot know yet "
    "where a point goes. The scale is the same at all t.",
    EXACT: "The same in closed form: the standard deviation of x1 - x0 given the point. No network is used.",
    DIFFERENCE: "Red: the predicted sigma is too large, the network is less sure than it could be. Blue: it is too "
    "small, the network is too sure. White: it is right.",
    VELOCITY: "Purple: the network; green: the exact velocity. With t_x and t_y apart, one coordinate is ahead.",
    CALIBRATION: "Along Euler's trajectories: a perfect head predicts the exact variance plus the velocity's own "
    "squared error.",
    CLOCKS: "The times of the two coordinates at every forward pass: samplers that move easy patches ahead separate "
    "them within a step. Hollow diamonds among the trajectories are probes: states that the sampler leaves again.",
    TIMES: "What the network is trained on: pairs of times. It has learnt nothing of pairs that are not here.",
    BENCHMARK: "All samplers with their default settings from the same starts, with at most this many evaluations; the "
    "number used is in brackets. Measured when the training pauses.",
}
