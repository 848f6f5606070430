"""What people look at: boxes on images, sheets of images, curves."""
