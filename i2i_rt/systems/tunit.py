"""TUNIT (Baek et al. 2021, arXiv:2006.06500): translation between domains that nobody has named.

A guiding network finds pseudo-domains and reads styles; at first it learns alone. Then generator and discriminator
join: every image is given the style of another one of the batch and is judged as an image of that one's pseudo-domain.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import I2IError
from i2i_rt.models import across
from i2i_rt.models.initialise import initialise
from i2i_rt.models.tunit import (
    BOTTOM,
    GuidingNetwork,
    GuidingNetworkConfig,
    TUNITGenerator,
    TUNITGeneratorConfig,
)
from i2i_rt.models.tunit_discriminator import TUNITDiscriminator, TUNITDiscriminatorConfig
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo
from i2i_rt.systems.base import Optimization, Product, Recipe, Shape, System, ViewsBatch
from i2i_rt.systems.losses import distance, gradient_penalty, hinge, in_float32
from i2i_rt.systems.settings import Settings
from i2i_rt.systems.smoothing import Smoothing, SmoothingSettings, Triplet

TEMPERATURE = 0.07
AVERAGE = 0.999  # decay of the guiding network's moving average, and of the generator's
JOINT_SHARE = 0.1  # of the guiding network's own losses once the others train too
GOLDEN = 0.5 * 5**0.5 - 0.5


@dataclass(frozen=True)
class TUNITSettings(Settings):
    """Sizes beside those of `Shape`, how much is labelled, and weights of the losses; the defaults are the paper's.

    Attributes:
        clusters: pseudo-domains.
        style_dim: numbers of a style.
        guiding_width: channels of the guiding network's first layer.
        queue: styles of earlier batches that a style is told from.
        separated: share of the steps in which the guiding network learns alone; 0.175 with some labels.
        labelled: share of the pictures whose folder counts as a label: 0 none, 1 all.
        clustering, reconstruction, style, penalty: weights of the losses and of R1.
    """

    clusters: int = 10
    style_dim: int = 128
    guiding_width: int = 64
    queue: int = 1024
    separated: float = 0.325
    labelled: float = 0.0
    clustering: float = 5.0
    reconstruction: float = 0.1
    style: float = 0.01
    penalty: float = 10.0

    def __post_init__(self) -> None:
        self.at_least(1, "clusters", "style_dim", "guiding_width", "queue")
        for name in ("separated", "labelled"):
            if not 0 <= getattr(self, name) <= 1:
                raise I2IError(f"--set {name} is {getattr(self, name)}; it is a share, from 0 to 1")
        self.at_least(0, "clustering", "reconstruction", "style", "penalty")


@dataclass(frozen=True)
class SmoothTUNITSettings(TUNITSettings, SmoothingSettings):
    """TUNIT's settings, and the weights of the smoothing losses.

    Attributes:
        clusters: pseudo-domains.
        style_dim: numbers of a style.
        guiding_width: channels of the guiding network's first layer.
        queue: styles of earlier batches that a style is told from.
        separated: share of the steps in which the guiding network learns alone; 0.175 with some labels.
        labelled: share of the pictures whose folder counts as a label: 0 none, 1 all.
        clustering, reconstruction, style, penalty: weights of the losses and of R1.
        triplet, margin: of the loss that keeps pseudo-domains apart.
        regularization: of the codes' mean squares, where it has grown.
        regularization_start: share of the steps after which it grows from 0, evenly until the last step.
        content: of LPIPS between a picture and its translation; 0 leaves it out.
        features: of LPIPS; "random" ones need no download, and are no measure of likeness.
    """

    def __post_init__(self) -> None:
        TUNITSettings.__post_init__(self)
        SmoothingSettings.__post_init__(self)


class TUNIT(System[ViewsBatch]):
    """Generator, guiding network with its moving average, and a discriminator with an output a pseudo-domain."""

    phases = ("guiding", "discriminator", "generator")
    queue: Tensor
    queued: Tensor
    agreement: Tensor

    def __init__(
        self,
        networks: tuple[TUNITGenerator, GuidingNetwork, TUNITDiscriminator],
        settings: TUNITSettings,
        domains: tuple[str, ...] = (),
        *,
        smoothing: Smoothing | None = None,
    ) -> None:
        super().__init__()
        self.generator, self.guiding_network, self.discriminator = networks
        self.guiding_average = copy.deepcopy(self.guiding_network).requires_grad_(False)
        self.settings, self.domains, self.smoothing = settings, domains, smoothing
        self.register_buffer("queue", torch.zeros(settings.queue, settings.style_dim))  # newest last
        self.register_buffer("queued", torch.zeros((), dtype=torch.long))
        # how often lately an image of a domain was put into a pseudo-domain; only for the scores
        self.register_buffer("agreement", torch.zeros(settings.clusters, len(domains)))

    @property
    def joint(self) -> bool:
        """Whether generator and discriminator train at this step; with labels for all there is nothing to find."""
        return self.settings.labelled == 1 or self.step >= self.settings.separated * self.steps

    def trained_in(self, phase: str) -> tuple[str, ...]:
        if phase == "guiding":
            return ("guiding_network",)
        if not self.joint:
            return ()
        return ("discriminator",) if phase == "discriminator" else ("generator", "guiding_network")

    def needs_gradient(self, name: str, phase: str) -> bool:
        # the discriminator's phase makes the translations that the generator's goes on with
        kept = phase == "discriminator" and name in ("generator", "guiding_network")
        return kept or name in self.trained_in(phase)

    def losses(self, batch: ViewsBatch, phase: str, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        if phase == "guiding":
            return self.guiding_losses(batch, kept)
        if phase == "discriminator":
            order = across.permutation(len(batch.image), batch.image.device)
            self.translate(batch, order, kept)
            return self.discriminator_losses(batch, kept)
        return self.generator_losses(batch, kept)

    def guiding_losses(self, batch: ViewsBatch, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tells styles apart, and finds pseudo-domains that an image and its other view agree on."""
        with torch.no_grad():
            kept["key"], judged = self.guiding_average(batch.view)
            self._count(judged.argmax(1), batch.domain)
        style, logits = self.guiding_network(batch.image)
        share = JOINT_SHARE if self.joint else 1.0
        losses = {"C_style": share * self.contrastive(style, kept["key"])}
        if self.settings.labelled == 1:
            return losses
        _, view_logits = self.guiding_network(batch.view)
        labelled, weight = self.labelled(batch), share * self.settings.clustering
        losses["C_cluster"] = weight * clustering_loss(logits, view_logits, ~labelled)
        if self.settings.labelled:
            losses["C_label"] = weight * sum(
                (label_loss(one, batch.domain, labelled) for one in (logits, view_logits)), start=style.new_zeros(())
            )
        return losses

    def contrastive(self, query: Tensor, key: Tensor) -> Tensor:
        """Tells styles from those in the queue, not normalised, as in the papers' code; 0 while it is empty."""
        queue = self.queue
        empty = torch.arange(len(queue), device=queue.device) < len(queue) - self.queued
        return contrastive_loss(query, key, queue, empty)

    def labelled(self, batch: ViewsBatch) -> Tensor:
        """Says of which images the domain is a label: of an even share of the set, the same ones in every epoch."""
        return (batch.number.double() * GOLDEN) % 1 < self.settings.labelled

    def translate(self, batch: ViewsBatch, order: Tensor, kept: dict[str, Tensor]) -> None:
        """Keeps the images' styles and pseudo-domains, and translations by those of the rows `order` of all processes.

        With batch norm's statistics over the whole batch, rows taken from it are what those images would give again.
        """
        style, logits = self.guiding_network(batch.image)
        domain = torch.where(self.labelled(batch), batch.domain, logits.argmax(1))
        content = self.generator.content(batch.image)
        kept |= {"order": order, "style": style, "domain": domain, "content": content}
        kept["reference style"] = across.gathered(style)[order]
        kept["reference domain"] = across.gathered(domain)[order]
        kept["translated"] = self.generator.decoded(content, kept["reference style"])

    def discriminator_losses(self, batch: ViewsBatch, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gives the hinge losses and the penalty; the references are the batch's own images, in another order."""
        image = batch.image.detach().requires_grad_()
        with in_float32(image):
            scores = self.judge(image, kept["domain"])
        fakes = self.judge(kept["translated"].detach(), kept["reference domain"])
        return {
            "D_real": hinge(scores, real=True),
            "D_fake": hinge(fakes, real=False),
            "D_penalty": 2 * self.settings.penalty * gradient_penalty(scores, image),
        }

    def generator_losses(self, batch: ViewsBatch, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gives the adversarial losses of translations and of images in their own style, and what keeps both true."""
        translated = kept["translated"]
        rebuilt = self.generator.decoded(kept["content"], kept["style"])
        domains = torch.cat([kept["reference domain"], kept["domain"]])
        fake, own = self.judge(torch.cat([translated, rebuilt]), domains).float().chunk(2)
        style, _ = self.guiding_network(translated)
        with torch.no_grad():
            key = across.gathered(self.guiding_average(batch.image)[0])[kept["order"]]
        losses = {
            "G_fake": -fake.mean(),
            "G_rebuilt": -own.mean(),
            "G_reconstruction": self.settings.reconstruction * distance(rebuilt, batch.image),
            "G_style": self.settings.style * self.contrastive(style, key),
        }
        if self.smoothing is not None:
            smooth = self.smoothing.of_codes(self.triplet(kept), done=self.step / self.steps)
            smooth |= self.smoothing.of_images(batch.image, translated)
            losses |= {f"G_{name}": loss for name, loss in smooth.items()}
        return losses

    def judge(self, image: Tensor, domain: Tensor) -> Tensor:
        """Gives the discriminator's scores `[N, 1]` of images as ones of their pseudo-domains."""
        scores: Tensor = self.discriminator(image).gather(1, domain[:, None])
        return scores

    def triplet(self, kept: dict[str, Tensor]) -> Triplet:
        """Gives the references' styles, each with that of the next image of its pseudo-domain and with the image's own.

        There is no noise that a network makes styles from, so all codes are those of pictures.
        """
        styles, domains = across.gathered(kept["style"]), across.gathered(kept["domain"])
        order, domain = kept["order"], kept["reference domain"]
        rows = torch.arange(len(domains), device=domains.device)
        ahead = (rows[None] - order[:, None] - 1) % len(rows)  # how far each image lies behind the reference
        same = domains[None] == domain[:, None]
        partner = ahead.masked_fill(~same, len(rows)).argmin(1)  # itself, where it is alone
        apart = (domain != kept["domain"]) & (partner != order)
        return Triplet(kept["reference style"], styles[partner], kept["style"], apart)

    def stepped(self, kept: dict[str, Tensor]) -> None:
        """Puts the keys of all processes into the queue, and moves the average.

        The average keeps batch norm's statistics of what it has seen itself. The papers' code takes those of the
        network that trains; in a short training these do not fit the weights, which lag behind.
        """
        keys = across.gathered(kept["key"])[-len(self.queue) :].to(self.queue)
        self.queue.copy_(torch.cat([self.queue[len(keys) :], keys]))
        self.queued.add_(len(keys)).clamp_(max=len(self.queue))
        for average, weight in zip(self.guiding_average.parameters(), self.guiding_network.parameters(), strict=True):
            average.lerp_(weight, 1 - AVERAGE)

    def _count(self, cluster: Tensor, domain: Tensor) -> None:
        if self.domains:
            clusters, domains = (
                functional.one_hot(of, size).float()
                for of, size in zip((cluster, domain), self.agreement.shape, strict=True)
            )
            found = clusters.t() @ domains
            self.agreement.mul_(0.99).add_(across.total(found))

    def averaged(self) -> tuple[str, ...]:
        return ("generator",)

    def products(self, networks: Mapping[str, nn.Module]) -> dict[str, Product]:
        side = self.generator.config.image_size
        preprocessing = Preprocessing("resize", side, side, resample="bilinear")
        kept = {"generator": networks["generator"], "guiding_network": networks["guiding_average"]}
        return {"bundle": Product(kept, "tunit", preprocessing, StyleInfo("fitted", (), "linear"))}

    def samples(self, batch: ViewsBatch, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Gives images, other pictures as references, translations by these, and the images with their own styles.

        The other pictures are the views, which are not of the same pictures outside training.
        """
        generator, guide = networks["generator"], networks["guiding_average"]
        translated, rebuilt = (generator(batch.image, guide(seen)[0]) for seen in (batch.view, batch.image))
        return [batch.image, batch.view, translated, rebuilt]

    def scores(self, batch: ViewsBatch, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """Says whether an image's pseudo-domain is the one that stands for its domain in the images of training."""
        if len(self.domains) < 2 or self.settings.labelled == 1:  # then nothing was looked for
            return {}
        _, logits = networks["guiding_average"](batch.image)
        return {"cluster_accuracy": (matched(self.agreement)[logits.argmax(1)] == batch.domain).float()}


def contrastive_loss(query: Tensor, key: Tensor, queue: Tensor, empty: Tensor) -> Tensor:
    """Gives the mean cross entropy of picking each query's own key among the queue (He et al. 2020, equation 1).

    `query` and `key` are `[N, S]`, `queue` `[K, S]`; rows of it that are `empty` `[K]` do not count.
    """
    query, key, queue = query.float(), key.detach().float(), queue.float()
    negatives = (query @ queue.t()).masked_fill(empty, -torch.inf)
    logits = torch.cat([(query * key).sum(1, keepdim=True), negatives], 1) / TEMPERATURE  # [N, 1 + K]
    return functional.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))


def clustering_loss(logits: Tensor, view_logits: Tensor, counted: Tensor) -> Tensor:
    """Gives the negative mutual information of the clusters of two views (Ji et al. 2019, equation 3).

    `logits` are `[N, K]`, `counted` says which rows have a part; the joint distribution is that of all processes.
    """
    first, second = logits.float().softmax(1), view_logits.float().softmax(1)
    joint = across.total(first.t() @ (second * counted[:, None]))  # [K, K]
    joint = joint + joint.t()
    joint = joint / joint.sum().clamp(min=1e-10)
    rows, columns = joint.sum(1, keepdim=True), joint.sum(0, keepdim=True)
    joint, rows, columns = (part.clamp(min=1e-10) for part in (joint, rows, columns))
    return -(joint * (joint.log() - rows.log() - columns.log())).sum()


def label_loss(logits: Tensor, label: Tensor, counted: Tensor) -> Tensor:
    """Gives the mean cross entropy of those images of all processes that are `counted`; 0 where there is none."""
    losses = functional.cross_entropy(logits.float(), label, reduction="none") * counted
    return losses.sum() / across.total(counted.sum().float()).clamp(min=1) * across.count()


def matched(agreement: Tensor) -> Tensor:
    """Gives the domain that stands for each cluster, from counts `[K, domains]`; -1 where none is left for it.

    Of all one-to-one choices it is that with the most agreement (Kuhn 1955).
    """
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    clusters, domains = linear_sum_assignment(agreement.cpu().numpy(), maximize=True)
    chosen = torch.full((len(agreement),), -1)
    chosen[torch.from_numpy(clusters)] = torch.from_numpy(domains)
    return chosen.to(agreement.device)


def build_tunit(shape: Shape) -> TUNIT:
    """Makes the networks for square crops, of a side that is a power of two.

    Raises:
        I2IError: where the crops have another size, or labels have more domains than there are clusters.
    """
    return _build(shape, None)


def build_smooth_tunit(shape: Shape) -> TUNIT:
    """Makes TUNIT with the losses for a smooth style space.

    Raises:
        I2IError: as `build_tunit`, and where the weights of the perceptual distance cannot be had.
    """
    return _build(shape, Smoothing(cast(SmoothTUNITSettings, shape.settings)))


def _build(shape: Shape, smoothing: Smoothing | None) -> TUNIT:
    settings, side = cast(TUNITSettings, shape.settings), shape.crop_size
    if side < 2 * BOTTOM or side & (side - 1):
        raise I2IError(f"--crop-size is {side}; TUNIT takes a power of two, at least {2 * BOTTOM}")
    if settings.labelled and not 1 < len(shape.domains) <= settings.clusters:
        raise I2IError(
            f"--set labelled is {settings.labelled:g} and the pictures lie in {len(shape.domains)} folders; labels "
            f"need at least 2, and no more than there are clusters ({settings.clusters})"
        )
    levels = (side // BOTTOM).bit_length() - 1
    widths = tuple(multiple * settings.guiding_width for multiple in (1, 2, 4, 4, 8, 8, 8, 8))
    generator = TUNITGenerator(TUNITGeneratorConfig(shape.width, levels, shape.blocks, settings.style_dim))
    guiding_network = GuidingNetwork(GuidingNetworkConfig(widths, settings.style_dim, settings.clusters))
    discriminator = TUNITDiscriminator(
        TUNITDiscriminatorConfig(shape.discriminator_width, image_size=side, clusters=settings.clusters)
    )
    initialise(generator, "kaiming")
    initialise(discriminator, "kaiming")
    _initialise_guiding_network(guiding_network)
    return TUNIT((generator, guiding_network, discriminator), settings, shape.domains, smoothing=smoothing)


def _initialise_guiding_network(network: GuidingNetwork) -> None:
    """Draws the weights as for VGG: by the number of outputs in convolutions, and small ones in linear layers."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


# 200,000 steps of 32 images of 128x128; for 256x256 the papers' code halves the widths.
RECIPE = Recipe(
    "views",
    Shape(blocks=2, crop_size=128),
    epochs=200,
    decay_epochs=0,
    batch=32,
    load_size=128,
    crop_size=128,
    learning_rate=1e-4,
    epoch_images=32000,
    optimization={
        "": Optimization(method="rmsprop", weight_decay=1e-4),
        "guiding_network": Optimization(betas=(0.9, 0.999), weight_decay=1e-3),
    },
    settings=TUNITSettings,
    uses=frozenset({"width", "blocks", "discriminator_width"}),
    ema=AVERAGE,
    synchronized=True,
)
SMOOTH_RECIPE = replace(RECIPE, settings=SmoothTUNITSettings)
