"""What a lab is going to train: arms and seeds, checked and priced before the first run."""
