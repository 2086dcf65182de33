"""Whether a weight file fits a recipe's network, and why not."""

from dataclasses import dataclass

from torch import Tensor, nn

from catalyst_cityscapes.export.weights.inspection import WeightFile, layout
from catalyst_cityscapes.models.known import KnownNetwork, recognise
from catalyst_cityscapes.models.segmenter import Segmenter
from semseg_ref.base.checkpoints.architecture import RESNET, UNKNOWN, Identity, differences, identify
from semseg_ref.base.checkpoints.state_dict import Match, first_names, match, named_as
from semseg_ref.base.errors import CheckpointError
from semseg_ref.model.resnet import match_backbone


@dataclass(frozen=True)
class RecipeFit:
    """A weight file beside a recipe's network.

    Attributes:
        as_initialisation: the file is a backbone's, and was compared with the network's.
        expected: the recipe's network, or its backbone.
        match: which tensors fit.
        reasons: in words, why the others do not.
    """

    as_initialisation: bool
    expected: Identity | KnownNetwork
    match: Match
    reasons: list[str]

    def lines(self, show_all: bool = False) -> list[tuple[str, str]]:
        """The report, as (heading, text); `show_all` names every tensor that does not fit."""
        join = ", ".join if show_all else first_names
        result = self.match
        rows = [
            ("expected", f"{self.expected}{' (its backbone)' if self.as_initialisation else ''}"),
            ("matched", f"{len(result.matched)} of {result.expected_count} tensors"),
        ]
        groups = {
            "missing": result.missing,
            "unexpected": result.unexpected,
            "differing": [f"{name} {what}" for name, what in result.differing.items()],
            "not used": result.unused,
        }
        rows += [(heading, f"{len(names)}: {join(names)}") for heading, names in groups.items() if names]
        rows += [("why", reason) for reason in self.reasons]
        if not result.fits and not self.reasons:
            rows.append(("why", "the same kind of network, but the names above are not the same"))
        return rows


def fit_recipe(file: WeightFile, network: nn.Module) -> RecipeFit:
    """Compares a weight file with a network: a backbone's with its backbone, anything else with the whole of it.

    Raises:
        CheckpointError: the file is a ResNet, and the network's backbone is none of ours.
    """
    own: dict[str, Tensor] = network.state_dict()
    identity = identify(own)
    if file.is_imagenet:
        return _fit_resnet(file, identity)
    known = recognise(own) if identity.family == UNKNOWN else None
    result = match(own, named_as(own, file.weights, file.path).weights)
    backbone = network.match_pretrained(file.weights) if isinstance(network, Segmenter) else None
    if backbone is not None and len(backbone.matched) > len(result.matched):
        return RecipeFit(True, known or identity, backbone, [])
    if known is None or file.known is None:
        return RecipeFit(False, known or identity, result, _reasons(file, known or identity))
    return RecipeFit(False, known, result, file.known.differences(known))


def _reasons(file: WeightFile, expected: Identity | KnownNetwork) -> list[str]:
    if file.known is None and isinstance(expected, Identity):
        return differences(file.network, expected)
    return [f"{file.title} instead of {expected}"]


def _fit_resnet(file: WeightFile, expected: Identity) -> RecipeFit:
    backbone = Identity(RESNET, blocks=expected.blocks, bottleneck=expected.bottleneck, stem=expected.stem)
    backbone_layout = layout(backbone)
    if backbone_layout is None:
        raise CheckpointError(
            f"{file.path}: is {file.network}; the recipe's network ({expected}) has no backbone of this kind"
        )
    result = match_backbone(backbone_layout, file.weights)
    return RecipeFit(True, backbone, result, differences(file.network, backbone))
