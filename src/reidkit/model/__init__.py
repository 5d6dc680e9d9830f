"""The network: a backbone, a head with its pooling and neck, and their weights on disk."""

from reidkit.model.backbones.osnet import OSNet
from reidkit.model.backbones.resnet import ResNet, resnet50
from reidkit.model.contracts import Backbone, Features, Head, Spans
from reidkit.model.fuse import fuse_batch_norms
from reidkit.model.heads.several import Several
from reidkit.model.heads.single import Single
from reidkit.model.neck import BNNeck, BNReLUNeck, L2Neck
from reidkit.model.network import Network, build_network
from reidkit.model.pooling import GeMPooling, MaxPooling, MeanMaxPooling, MeanPooling
from reidkit.model.views import DropRows, Rows, SoftParts

__all__ = [
    "BNNeck",
    "BNReLUNeck",
    "Backbone",
    "DropRows",
    "Features",
    "GeMPooling",
    "Head",
    "L2Neck",
    "MaxPooling",
    "MeanMaxPooling",
    "MeanPooling",
    "Network",
    "OSNet",
    "ResNet",
    "Rows",
    "Several",
    "Single",
    "SoftParts",
    "Spans",
    "build_network",
    "fuse_batch_norms",
    "resnet50",
]
