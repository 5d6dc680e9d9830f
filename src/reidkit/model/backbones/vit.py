"""Vision transformers (Dosovitskiy et al., arXiv:2010.11929; DeiT, arXiv:2012.12877), with timm's names of weights.

As TransReID has them (He et al., ICCV 2021): patches of 16x16 pixels that overlap where their stride is below 16, and
an embedding for each camera, added to every token. The map is that of the patches' tokens, or, for heads that need the
class token, the sequence of all tokens as a map of one row.
"""

from __future__ import annotations

from collections import OrderedDict
from math import isqrt
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidkit.arguments import check_choice
from reidkit.errors import UsageError
from reidkit.model.chance import DropPath
from reidkit.model.views import Tail
from reidkit.recipe.network_section import ViTs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from reidkit import recipe

PATCH = 16
CAMERA_SCALE = 3.0
"""What a camera's embedding is multiplied by."""

SEQUENCE_HEADS = ("token", "jigsaw")
"""Heads that take the sequence of tokens, the class token first, as a map [B, C, 1, 1 + patches]."""


class Kind(NamedTuple):
    """Length of a token, blocks, heads of a block."""

    dim: int
    depth: int
    heads: int


KINDS = {"vit-tiny": Kind(192, 12, 3), "vit-small": Kind(384, 12, 6), "vit-base": Kind(768, 12, 12)}


class Attention(nn.Module):
    """Each token becomes a mean of all, weighted by softmax(q k / sqrt(d)), in each head."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, tokens, dim] to the same shape."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return cast("Tensor", self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)))


class MLP(nn.Module):
    """Two linear layers with GELU between, four times as wide inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, tokens, dim] to the same shape."""
        return cast("Tensor", self.fc2(F.gelu(self.fc1(x))))


class Norm(nn.LayerNorm):
    """Layer norm, without weight decay."""

    undecayed = ("weight", "bias")

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=1e-6)


class Block(nn.Module):
    """Attention and MLP, each behind a layer norm and beside a shortcut. Biases have no weight decay."""

    undecayed = ("attn.qkv.bias", "attn.proj.bias", "mlp.fc1.bias", "mlp.fc2.bias")

    def __init__(self, dim: int, heads: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = Norm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = Norm(dim)
        self.mlp = MLP(dim)
        self.drop_path = nn.ModuleList(DropPath(drop_path) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """[B, tokens, dim] to the same shape."""
        x = x + self.drop_path[0](self.attn(self.norm1(x)))
        return cast("Tensor", x + self.drop_path[1](self.mlp(self.norm2(x))))


class Patches(nn.Module):
    """A convolution whose places are the patches."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, stride)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, dim, h, w] with h = (H - 16) // stride + 1."""
        return cast("Tensor", self.proj(images))


class CameraEmbedding(nn.Module):
    """An embedding for each camera of the training set; of another, or of none, the mean of them.

    `camera_ids` says which row of the table is whose: -1 for a row that no camera has.
    """

    added = True
    """No published weights of a backbone hold it."""

    undecayed = ("table",)

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(count, dim))
        nn.init.trunc_normal_(self.table, std=0.02)
        # Float64, which holds every camera's number exactly: files of weights hold no whole numbers.
        self.camera_ids = nn.Buffer(torch.full((count,), -1.0, dtype=torch.float64))

    def assign(self, camids: NDArray[Any]) -> None:
        """Give each of these cameras a row.

        Raises:
            UsageError: the table has too few.
        """
        if len(camids) > len(self.camera_ids):
            raise UsageError(
                f"the training images come from {len(camids)} cameras, and the network has room for "
                f"{len(self.camera_ids)}: set network.cameras={len(camids)}",
                argument="network.cameras",
            )
        self.camera_ids[: len(camids)] = torch.as_tensor(camids, dtype=torch.float64)

    def forward(self, camera_b: Tensor | None) -> Tensor:
        """The numbers of cameras [B], or None, to what is added to the tokens, [B, 1, dim] or [1, 1, dim]."""
        known = (self.camera_ids >= 0).to(self.table.dtype)[:, None]
        none = known.sum() == 0  # a network that has not been trained
        weight = torch.where(none, torch.ones_like(known), known)
        mean_1d = (self.table * weight).sum(0, keepdim=True) / weight.sum()
        if camera_b is None:
            return CAMERA_SCALE * mean_1d[None]
        # Rounded, as a mean over processes may have left them a little beside.
        hit_bc = (camera_b[:, None] == self.camera_ids.round()) & (camera_b >= 0)[:, None]
        own_bd = hit_bc.to(self.table.dtype) @ self.table
        return CAMERA_SCALE * torch.where(hit_bc.any(1, keepdim=True), own_bd, mean_1d)[:, None]


class ViT(nn.Module):
    """The backbone: images [B, 3, H, W] to a map [B, channels, h, w] of the patches' tokens behind the last norm.

    Args:
        name: One of `ViTs`.
        width: Multiplies the length of a token, for small runs.
        stride: Pixels from patch to patch; below 16 they overlap.
        grid: Height and width of the table of positions; where images have another number of patches it is resized.
        cameras: How many cameras have an embedding; 0 is none.
        drop_path: How often the last block is left out in training; the others less, in steps (see `DropPath`).
        sequence: Give the sequence of all tokens, the class token first, as a map [B, channels, 1, 1 + patches].
    """

    undecayed = ("cls_token", "pos_embed", "patch_embed.proj.bias")

    def __init__(  # noqa: PLR0913
        self,
        name: str = "vit-base",
        *,
        width: float = 1.0,
        stride: int = PATCH,
        grid: tuple[int, int] = (14, 14),
        cameras: int = 0,
        drop_path: float = 0.1,
        sequence: bool = False,
    ) -> None:
        super().__init__()
        dim, depth, heads = KINDS[check_choice(name, ViTs, "name")]
        self.channels = dim = max(4, round(dim / heads * width)) * heads
        self.grid, self.sequence = (grid[0], grid[1]), sequence
        self.takes_cameras = cameras > 0
        self.patch_embed = Patches(dim, stride)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid[0] * grid[1], dim))
        self.cameras = CameraEmbedding(dim, cameras) if cameras else None
        rates = torch.linspace(0, drop_path, depth, device="cpu").tolist()
        self.blocks: nn.Sequential = nn.Sequential(*(Block(dim, heads, rate) for rate in rates))
        self.norm: nn.Module = Norm(dim)
        for parameter in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(parameter, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor, camera_b: Tensor | None = None) -> Tensor:
        """Images, normalised, and the numbers of their cameras where the network takes them, to the map."""
        patches_bdhw = self.patch_embed(images)
        height, width = patches_bdhw.shape[2:]
        # The size of the batch from the shape: len() would make it a constant of an exported graph.
        x = torch.cat([self.cls_token.expand(images.shape[0], -1, -1), patches_bdhw.flatten(2).transpose(1, 2)], dim=1)
        x = x + resized(self.pos_embed, self.grid, (height, width))
        if self.cameras is not None:
            x = x + self.cameras(camera_b)
        x = self.norm(self.blocks(x))
        as_map: Tensor = x.transpose(1, 2)
        return as_map.unsqueeze(2) if self.sequence else as_map[:, :, 1:].unflatten(2, (height, width))

    def set_cameras(self, camids: NDArray[Any]) -> None:
        """Give each of the cameras of a training set, int64 [n], its embedding (see `CameraEmbedding`)."""
        if self.cameras is not None:
            self.cameras.assign(camids)

    def adapt(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of a weights file with its table of positions resized to the own grid.

        Its grid is a square one where its length allows it; else the one whose shape is nearest to the own. A second
        token, DeiT's for distillation, is left out.
        """
        adapted = dict(tensors)
        table = adapted.get("pos_embed")
        if table is None or table.dim() != 3 or table.shape == self.pos_embed.shape or table.shape[1] < 2:
            return adapted
        places = table.shape[1] - 1
        if isqrt(places) ** 2 != places and isqrt(places - 1) ** 2 == places - 1:
            table, places = torch.cat([table[:, :1], table[:, 2:]], dim=1), places - 1
        adapted["pos_embed"] = resized(table.float(), _grid_of(places, self.grid), self.grid)
        return adapted

    def take_tail(self) -> Tail:
        """Take the last block and the norm off, in place, and return them: tokens [B, N, C] to tokens."""
        number = str(len(self.blocks) - 1)
        last = nn.Sequential(OrderedDict([(number, self.blocks[-1])]))
        tail = Tail(OrderedDict(blocks=last, norm=self.norm), self.channels)
        self.blocks, self.norm = nn.Sequential(*list(self.blocks)[:-1]), nn.Identity()
        return tail


def resized(table_1nd: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Resize a table of positions [1, 1 + h w, D], the class token's first, from a grid to another, bilinearly."""
    if tuple(grid) == tuple(size):
        return table_1nd
    map_1dhw = table_1nd[:, 1:].transpose(1, 2).unflatten(2, grid)
    other = F.interpolate(map_1dhw, size, mode="bilinear", align_corners=False)
    return torch.cat([table_1nd[:, :1], other.flatten(2).transpose(1, 2)], dim=1)


def _grid_of(places: int, like: tuple[int, int]) -> tuple[int, int]:
    """Return the grid that so many places make up: a square, or else the one nearest to the shape of `like`."""
    if isqrt(places) ** 2 == places:
        return isqrt(places), isqrt(places)
    wanted = like[0] / like[1]
    heights = [height for height in range(1, places + 1) if places % height == 0]
    best = min(heights, key=lambda height: abs(torch.log(torch.tensor(height * height / places / wanted)).item()))
    return best, places // best


def build_backbone(recipe: recipe.Network) -> ViT:
    """Make the backbone of a recipe, initialised from torch's random state."""
    return ViT(
        recipe.backbone,
        width=recipe.width,
        stride=recipe.patch_stride,
        grid=recipe.position_grid,
        cameras=recipe.cameras,
        drop_path=recipe.drop_path,
        sequence=recipe.head in SEQUENCE_HEADS,
    )
