"""How good a detector is: COCO's AP in original pixels, and how well score and box agree."""
