from dataclasses import dataclass
from typing import Annotated

import pytest

from pf_core.errors import InputError
from pf_core.registry import Knob, Parameter, Registry, number, parameters, ranged, whole


def blur(
    x,
    rng=None,
    *,
    radius: Annotated[float, Knob(0.0, 2.0, "how far")] = 0.5,
    times: Annotated[int, Knob(1, 8)] = 2,
    wrap: Annotated[bool, Knob(help="round the edge")] = False,
    kind: Annotated[str, Knob(choices=("box", "tent"))] = "box",
    free: Annotated[float, "no knob"] = 1.0,
    plain: int = 3,
):
    """Blur it.

    More words, which are no label.
    """


def sharpen(x):
    """Sharpen."""


@dataclass
class Frame:
    """A frame."""

    width: Annotated[int, Knob(1, 9)] = 4
    name: str = ""


class Lens:
    """A lens."""

    def __init__(self, *, focus: Annotated[float, Knob(0.1, 10.0)] = 1.0):
        self.focus = focus


@pytest.fixture
def filters():
    return Registry("filter", [blur, sharpen])


def knob(kind, *args, **kw):
    return Parameter("p", kind, None, Knob(*args, **kw))


def test_knobs_are_read_from_the_signature_in_order(filters):
    knobs = filters["blur"].knobs
    assert list(knobs) == ["radius", "times", "wrap", "kind"]
    assert [k.type for k in knobs.values()] == [float, int, bool, str]
    assert [k.default for k in knobs.values()] == [0.5, 2, False, "box"]
    assert (knobs["radius"].knob.low, knobs["radius"].knob.high, knobs["radius"].knob.help) == (0.0, 2.0, "how far")
    assert knobs["kind"].knob.choices == ("box", "tent")


def test_knobs_of_dataclasses_and_classes():
    assert list(parameters(Frame)) == ["width"] and parameters(Frame)["width"].default == 4
    assert list(parameters(Lens)) == ["focus"]
    assert parameters(sharpen) == {}


def test_name_and_label_come_from_the_function(filters):
    assert filters["blur"].name == "blur" and filters["blur"].fn is blur
    assert filters["blur"].label == "Blur it"
    assert list(filters) == ["blur", "sharpen"] and len(filters) == 2 and "blur" in filters and "x" not in filters


def test_a_flag_is_the_name_with_dashes():
    assert Parameter("n_inner", int, 4, Knob()).flag == "--n-inner"


def test_register_is_a_decorator_and_a_thing_without_docstring_is_called_by_its_name(filters):
    @filters.register
    def bare(x): ...

    assert callable(bare) and filters["bare"].label == "bare"


@pytest.mark.parametrize(
    "kind, given, expected",
    [
        (float, "0.25", 0.25),
        (float, 1, 1.0),
        (int, 3, 3),
        (int, 3.0, 3),
        (int, "3", 3),
        (int, "3.0", 3),
        (int, "3e2", 300),
        (bool, True, True),
        (bool, "false", False),
        (bool, "Yes", True),
        (bool, 0, False),
        (str, "box", "box"),
    ],
)
def test_a_good_value_becomes_the_parameters_type(kind, given, expected):
    value = knob(kind).check(given)
    assert value == expected and type(value) is kind


@pytest.mark.parametrize(
    "kind, given",
    [
        (float, "much"),
        (float, None),
        (float, [1.0]),
        (float, "nan"),
        (float, float("nan")),
        (float, float("inf")),
        (int, 2.5),
        (int, "2.5"),
        (int, "two"),
        (int, None),
        (int, float("nan")),
        (int, float("-inf")),
        (int, True),
        (int, "9" * 5000),
        (int, "\u00b2"),
        (float, True),
        (float, 10**400),
        (bool, "maybe"),
        (bool, 2),
        (bool, None),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(kind, given):
    with pytest.raises(InputError, match=r"^p (must be|is empty: give) .*\.$"):
        knob(kind).check(given)


def test_ranges_are_inclusive_and_may_be_open_on_one_side():
    assert [knob(float, 0, 1).check(v) for v in (0, 1)] == [0.0, 1.0]
    assert knob(int, 1).check(10**9) == 10**9
    assert knob(int, None, 5).check(-7) == -7
    for bad in (-0.01, 1.01):
        with pytest.raises(InputError, match="p must lie between 0 and 1"):
            knob(float, 0, 1).check(bad)
    with pytest.raises(InputError):
        knob(int, 1).check(0)


def test_choices_are_checked_after_the_type():
    assert knob(int, choices=(32, 64)).check("64") == 64
    with pytest.raises(InputError, match="p must be one of 32, 64, not 48"):
        knob(int, choices=(32, 64)).check(48)


def test_settings_are_the_given_values_and_defaults_for_the_rest(filters):
    assert filters["blur"].settings() == {"radius": 0.5, "times": 2, "wrap": False, "kind": "box"}
    assert filters["blur"].settings({"times": "3.0"})["times"] == 3
    assert filters["sharpen"].settings() == {}


def test_an_unknown_setting_is_refused_with_the_known_ones(filters):
    with pytest.raises(InputError, match="blur has no setting 'size'; its settings are: radius, times, wrap, kind"):
        filters["blur"].settings({"size": 1})
    with pytest.raises(InputError, match="none"):
        filters["sharpen"].settings({"size": 1})
    with pytest.raises(InputError):
        filters["blur"].settings({"plain": 1})


def test_an_unknown_name_is_refused_with_a_suggestion(filters):
    with pytest.raises(InputError, match="There is no filter 'blurr'. Did you mean 'blur'\\? Known: blur, sharpen."):
        filters["blurr"]
    with pytest.raises(InputError) as error:
        filters["zzz"]
    assert "Did you mean" not in str(error.value)
    with pytest.raises(InputError):
        filters[None]


@pytest.mark.parametrize("value", [2**53 + 1, str(2**53 + 1), 2**63 - 1, str(2**63 - 1)])
def test_whole_numbers_are_exact_beyond_what_a_float_holds(value):
    assert whole("seed", value, 0, 2**63 - 1) == int(value)
    assert knob(int).check(value) == int(value)


def test_a_range_is_exact_beyond_what_a_float_holds_and_not_longer_than_it_may_be():
    def check(value):
        return whole("seed", value, 0, 2**63 - 1)

    assert ranged("seed", f"{2**60 + 1}-{2**60 + 3}", check, 9) == [2**60 + 1, 2**60 + 2, 2**60 + 3]
    with pytest.raises(InputError, match="more than 9 values"):
        ranged("seed", f"0-{2**62}", check, 9)


def test_a_limit_on_one_side_says_so():
    with pytest.raises(InputError, match="n must be at least 1, not 0"):
        whole("n", 0, 1)
    with pytest.raises(InputError, match="x must be at most 2, not 2.5"):
        number("x", "2.5", None, 2)


def test_a_class_is_registered_under_the_name_it_gives():
    class WideLens(Lens):
        """A wide lens."""

        name = "wide"

    class Magnifier(WideLens):
        """Larger."""

    known = Registry("lens", [Lens, WideLens, Magnifier])
    assert list(known) == ["Lens", "wide", "Magnifier"] and known["wide"].fn is WideLens
