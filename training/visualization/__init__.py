"""What people look at: boxes on images, sheets of images, curves.

Outsiders use `drawing.draw_boxes` and `drawing.grid`, `figures.save_run_figures`, and
`sheets.save_contact_sheet` and `sheets.save_detection_sheet`.
"""
