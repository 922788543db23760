"""A plain convolutional network with group norm, for images of any size in 2-D or 3-D."""

from torch import nn

from fedward_common.models.model_options import CnnOptions
from fedward_common.models.standardised import StandardisedConv2d, StandardisedConv3d

_Convolutions = dict[int, type[nn.Conv2d] | type[nn.Conv3d]]

_PLAIN: _Convolutions = {2: nn.Conv2d, 3: nn.Conv3d}
_STANDARDISED: _Convolutions = {2: StandardisedConv2d, 3: StandardisedConv3d}
POOLS: dict[int, type[nn.AdaptiveAvgPool2d] | type[nn.AdaptiveAvgPool3d]] = {
    2: nn.AdaptiveAvgPool2d,
    3: nn.AdaptiveAvgPool3d,
}


def convolution_of(
    spatial_dims: int, *, weight_standardisation: bool
) -> type[nn.Conv2d] | type[nn.Conv3d]:
    """Give the class of convolutions for images of two or three dimensions."""
    return (_STANDARDISED if weight_standardisation else _PLAIN)[spatial_dims]


def build_cnn(options: CnnOptions, spatial_dims: int, channels: int, num_classes: int) -> nn.Module:
    """Build `blocks` times [3x3 conv, norm, ReLU, 3x3 conv of stride 2, norm, ReLU], then a head.

    Convolutions have no bias since a norm follows. The default has 287,138 parameters for one
    channel and two classes.
    """
    conv = convolution_of(spatial_dims, weight_standardisation=options.weight_standardisation)
    layers: list[nn.Module] = []
    incoming = channels
    for block in range(options.blocks):
        outgoing = options.width * 2**block
        for stride in (1, 2):
            layers += [
                conv(incoming, outgoing, 3, stride, 1, bias=False),
                nn.GroupNorm(options.groups, outgoing),
                nn.ReLU(),
            ]
            incoming = outgoing
    model = nn.Sequential()
    model.add_module("features", nn.Sequential(*layers))
    model.add_module("pool", POOLS[spatial_dims](1))
    model.add_module("flatten", nn.Flatten())
    if options.dropout > 0:
        model.add_module("dropout", nn.Dropout(options.dropout))
    model.add_module("head", nn.Linear(incoming, num_classes))
    return model
