import pytest
from broken_files import try_all


@pytest.mark.slow
def test_every_broken_file_is_named_or_used():
    _, unexpected = try_all()
    assert unexpected == []
