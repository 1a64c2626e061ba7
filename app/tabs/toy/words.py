"""What the Toy tab says about its switches and views."""

from app.tabs.toy.plots import CALIBRATION, CLOCKS, DIFFERENCE, EXACT, PREDICTED, RACE, TIMES, VELOCITY

STOP_GRADIENT = (
    "The paper keeps the NLL's direct gradient out of the velocity. Without it the velocity is also fitted with weight "
    "1/variance: points that it is sure of pull hardest. Train to the end with it and without it: the dotted losses "
    "are the other training's, and the line above the plots says what changed."
)
VIEW_HELP = {
    PREDICTED: "The network's own standard deviation of its velocity's error. Bright: from here and now it cannot know "
    "yet where a point goes. One scale at all times.",
    EXACT: "The same in closed form: the standard deviation of x1 - x0 given the point. No network is asked.",
    DIFFERENCE: "Blue: too sure of itself; red: too careful.",
    VELOCITY: "Purple: the network; green: the exact velocity. With t_x and t_y apart, one coordinate is ahead.",
    CALIBRATION: "Along Euler's way: a perfect head predicts the exact variance plus the velocity's own squared error.",
    CLOCKS: "Where the two coordinates stand at every forward pass: samplers that let easy patches run ahead part them "
    "within a step. Hollow diamonds among the trajectories are states that were only looked at.",
    TIMES: "What the network is trained on: pairs of times. Where there are none it has to guess.",
    RACE: "All samplers with their default settings from the same starts, at most as many evaluations each; the number "
    "actually used stands in brackets. Measured when the training pauses.",
}
