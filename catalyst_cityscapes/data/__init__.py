"""Where samples come from: the training set, decoding and its cache, loaders, augmentation."""
