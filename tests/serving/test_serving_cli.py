"""What is asked of `python -m serving` wrongly is one sentence, before anything is loaded."""

import pytest
from click.testing import CliRunner

from serving import cli

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--rest_api_port", value) for value in (-1, 65536)),
        *(("--port", value) for value in (-1, 65536)),
        *((option, 0) for option in ("--threads", "--max_batch", "--max_body_mb")),
    ],
)
def test_numbers_out_of_range_are_wrong_calls(tmp_path, monkeypatch, option, value):
    monkeypatch.setattr(cli, "_serve", lambda *args: pytest.fail("it serves"))
    (tmp_path / "m" / "1").mkdir(parents=True)
    result = CliRunner().invoke(cli.group, ["dev", str(tmp_path), option, str(value)])
    assert result.exit_code == 2
    assert f"Invalid value for '{option}': {value} is not in the range" in result.output
