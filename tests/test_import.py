"""What `import harmonic_tf` reaches, and what it refuses."""

import os
import subprocess
import sys

import pytest

import harmonic_tf


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("part", ["layouts", "losses", "metrics", "models"])
def test_parts_are_reached_without_an_import_of_their_own(part):
    assert part in dir(harmonic_tf)
    assert harmonic_tf.__getattr__(part).__name__ == f"harmonic_tf.{part}"


def test_keras_is_imported_only_when_it_is_needed():
    done = python("import harmonic_tf, sys; assert 'keras' not in sys.modules")
    assert done.returncode == 0, done.stderr


def test_unknown_name():
    with pytest.raises(AttributeError, match="'harmonic_tf' has no attribute 'loss'"):
        _ = harmonic_tf.loss


def test_legacy_keras_is_refused():
    done = python("import harmonic_tf", TF_USE_LEGACY_KERAS="1")
    assert done.returncode != 0
    assert "ImportError: harmonic_tf is made for Keras 3" in done.stderr
    assert "TF_USE_LEGACY_KERAS=1" in done.stderr
    assert python("import harmonic_tf", TF_USE_LEGACY_KERAS="0").returncode == 0
