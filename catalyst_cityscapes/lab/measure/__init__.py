"""What a recipe does, measured on its real optimiser, schedule, augmentation and samples, without training it."""
