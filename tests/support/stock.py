"""A plain Catalyst 22 config that trains on made-up images."""

import yaml

STOCK = yaml.safe_load("""
args: {seed: 3}
engine: {_var_: engine, _target_: catalyst.dl.CPUEngine}
model:
  _var_: model
  _target_: torch.nn.Sequential
  args:
    - {_target_: torch.nn.Flatten}
    - {_target_: torch.nn.Linear, in_features: 48, out_features: 3}
loaders:
  _var_: loaders
  train: &loader
    _target_: torch.utils.data.DataLoader
    batch_size: 4
    shuffle: true
    dataset:
      _target_: torchvision.datasets.FakeData
      size: 12
      image_size: [3, 4, 4]
      num_classes: 3
      transform: {_target_: torchvision.transforms.ToTensor}
  valid: *loader
criterion: {_var_: criterion, _target_: torch.nn.CrossEntropyLoss}
optimizer: {_var_: optimizer, _target_: torch.optim.SGD, params: {_var_: model.parameters}, lr: 0.5}
scheduler:
  _var_: scheduler
  _target_: torch.optim.lr_scheduler.StepLR
  optimizer: {_var_: optimizer}
  step_size: 1
  gamma: 0.1
runner: {_var_: runner, _target_: catalyst.dl.SupervisedRunner, model: {_var_: model}}
run:
  - _call_: train
    model: {_var_: model}
    engine: {_var_: engine}
    loaders: {_var_: loaders}
    criterion: {_var_: criterion}
    optimizer: {_var_: optimizer}
    scheduler: {_var_: scheduler}
    callbacks:
      accuracy:
        _target_: catalyst.dl.AccuracyCallback
        input_key: logits
        target_key: targets
    num_epochs: 3
    logdir: logs
""")
