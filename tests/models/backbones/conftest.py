import pytest


@pytest.fixture(autouse=True, scope="session")
def empty_keras_cache(tmp_path_factory):
    """What the user's Keras has downloaded changes no test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        yield
