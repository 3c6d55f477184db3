"""The names that a program may rely on."""

import raystudy


def test_every_public_name_is_there_and_documented() -> None:
    for name in raystudy.__all__:
        assert getattr(raystudy, name).__doc__, name
    assert set(raystudy.__all__) == set(dir(raystudy)) == set(raystudy._PLACE_OF)


def test_other_names_are_not() -> None:
    assert not hasattr(raystudy, "train_everything")
