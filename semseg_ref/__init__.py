"""The control arm: the official PSPNet recipe (hszhao/semseg) in plain PyTorch, without Catalyst."""
