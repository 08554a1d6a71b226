"""Files that are whole or not there."""

import pathlib

import pytest

from tfzoo.atomic_file import replacing


@pytest.mark.fast
def test_a_file_takes_its_place_once_it_is_whole(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.png"
    (tmp_path / ".new.a.png").write_text("half, of a process that was killed")
    with replacing(path):
        pass
    assert not list(tmp_path.iterdir())
    for text in ("one", "two"):
        with replacing(path) as file:
            assert file.suffix == ".png"
            file.write_text(text)
        assert path.read_text() == text
    with pytest.raises(OSError, match="full"), replacing(path) as file:  # noqa: PT012
        file.write_text("half")
        raise OSError("full")
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]
