"""ResNet-18 with group norm and no operation in place, in torchvision's layout and names.

MONAI's ResNet keeps batch norms whatever norm it is given, and its `+=` breaks gradients per
example, so this one is Fedward's own.
"""

import torch
from torch import Tensor, nn

from fedward_common.models.cnn import POOLS, convolution_of
from fedward_common.models.model_options import ResNet18Options

_MAX_POOLS: dict[int, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_STAGES = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, projected where shapes differ.

    Source: He et al. 2016, arXiv:1512.03385, figure 5 left; norm as in Wu and He 2018,
    arXiv:1803.08494.
    """

    def __init__(
        self,
        conv: type[nn.Conv2d] | type[nn.Conv3d],
        incoming: int,
        outgoing: int,
        stride: int,
        groups: int,
    ) -> None:
        super().__init__()
        self.conv1 = conv(incoming, outgoing, 3, stride, 1, bias=False)
        self.norm1 = nn.GroupNorm(groups, outgoing)
        self.relu1 = nn.ReLU()
        self.conv2 = conv(outgoing, outgoing, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(groups, outgoing)
        self.relu2 = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or incoming != outgoing:
            self.downsample = nn.Sequential(
                conv(incoming, outgoing, 1, stride, bias=False), nn.GroupNorm(groups, outgoing)
            )

    def forward(self, images: Tensor) -> Tensor:
        """Add the shortcut to the transformed input, out of place."""
        hidden = self.relu1(self.norm1(self.conv1(images)))
        hidden = self.norm2(self.conv2(hidden))
        result: Tensor = self.relu2(torch.add(hidden, self.downsample(images)))
        return result


def build_resnet18(
    options: ResNet18Options, spatial_dims: int, channels: int, num_classes: int
) -> nn.Module:
    """Build stem, four stages of two blocks, global average pool and linear head."""
    groups = options.groups
    conv = convolution_of(spatial_dims, weight_standardisation=options.weight_standardisation)
    model = nn.Sequential()
    if options.small_images:
        model.add_module("conv1", conv(channels, 64, 3, 1, 1, bias=False))
    else:
        model.add_module("conv1", conv(channels, 64, 7, 2, 3, bias=False))
    model.add_module("norm1", nn.GroupNorm(groups, 64))
    model.add_module("relu", nn.ReLU())
    if not options.small_images:
        model.add_module("maxpool", _MAX_POOLS[spatial_dims](3, 2, 1))
    incoming = 64
    for number, outgoing in enumerate(_STAGES, start=1):
        stride = 1 if number == 1 else 2
        stage = nn.Sequential(
            BasicBlock(conv, incoming, outgoing, stride, groups),
            BasicBlock(conv, outgoing, outgoing, 1, groups),
        )
        model.add_module(f"layer{number}", stage)
        incoming = outgoing
    model.add_module("avgpool", POOLS[spatial_dims](1))
    model.add_module("flatten", nn.Flatten())
    model.add_module("fc", nn.Linear(incoming, num_classes))
    _initialise_convolutions(model)
    return model


def _initialise_convolutions(model: nn.Module) -> None:
    """As torchvision does: He normal, fan out."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
