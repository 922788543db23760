"""Networks taken from MONAI, with group norm and no operation in place.

Importing this module imports MONAI (about 2 s), so only the catalogue's builder paths name it.
"""

from monai.networks.nets.densenet import DenseNet121
from monai.networks.nets.unet import UNet
from torch import nn

from fedward_common.models.model_options import DenseNet121Options, UNetOptions


def build_densenet121(
    options: DenseNet121Options, spatial_dims: int, channels: int, num_classes: int
) -> nn.Module:
    """Build MONAI's DenseNet-121."""
    model: nn.Module = DenseNet121(
        spatial_dims=spatial_dims,
        in_channels=channels,
        out_channels=num_classes,
        act=("relu", {"inplace": False}),
        norm=("GROUP", {"num_groups": options.groups}),
        dropout_prob=options.dropout,
    )
    return model


class _GroupNormUNet(UNet):  # type: ignore[misc]  # MONAI brings no types
    """MONAI's UNet whose last up-sampling norms all classes as one group.

    That layer has as many channels as there are classes, which `groups` seldom divides.
    """

    def _get_up_layer(
        self, in_channels: int, out_channels: int, strides: int, is_top: bool
    ) -> nn.Module:
        norm = self.norm  # type: ignore[has-type]  # set by MONAI's constructor
        if is_top:
            self.norm = ("GROUP", {"num_groups": 1})
        layer: nn.Module = super()._get_up_layer(in_channels, out_channels, strides, is_top)
        self.norm = norm
        return layer


def build_unet(
    options: UNetOptions, spatial_dims: int, channels: int, num_classes: int
) -> nn.Module:
    """Build MONAI's residual U-Net; logits have the size of the image."""
    return _GroupNormUNet(
        spatial_dims=spatial_dims,
        in_channels=channels,
        out_channels=num_classes,
        channels=options.channels,
        strides=options.strides,
        num_res_units=options.residual_units,
        norm=("GROUP", {"num_groups": options.groups}),
        dropout=options.dropout,
    )
