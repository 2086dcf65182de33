"""What is looked at before a training starts: lists and labels, the smallest batch, loader processes."""
