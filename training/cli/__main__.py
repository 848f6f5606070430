"""`python -m harmonic_tf.training.cli`."""

from harmonic_tf.training.cli.main import main

if __name__ == "__main__":
    main()
