"""`python -m harmonic_tf.training.cli`."""

from harmonic_tf.training.cli.program import main

if __name__ == "__main__":
    main()
