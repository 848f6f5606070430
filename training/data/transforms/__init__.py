"""What happens to images and boxes on their way into the network, in TensorFlow."""
