"""The gathered face laid into the recoloured default so that no seam shows.

Both are split into octaves and each octave is joined over its own width (Burt and Adelson, *A
multiresolution spline with application to image mosaics*, 1983): pores end at the edge, a shadow
fades over half a cheek.
"""

from __future__ import annotations

import cv2
import numpy as np

from engine.face.albedo import RelativeAlbedo
from engine.face.face_atlas import FaceAtlas
from engine.face.face_zones import Zone, Zones
from engine.face.lighting import LUMINANCE
from engine.types import F32, U8

OCTAVES = 6
ENOUGH = 0.5
"""Evidence at which a texel is believed."""
EDGE_TEXELS = 9
"""Kept clear of the face patch's outline and of what was not seen;"""
HOLE_TEXELS = 22
FEATHER_TEXELS = 4.0
"""and then softened by so much."""
SHADOW = (0.68, 0.86)
"""Relative luminance of bare skin: not believed, and believed."""
GREYEST, COLOURFUL = 0.25, 0.85
"""Relative luminance at which a picture's hue is worth least, and from which it is believed;"""
SOBER = 0.45
"""and how much of it is kept in the dark."""
TREMBLE_TEXELS = 3.0
SHARPENING, MOST_DETAIL = 0.6, 0.25
BROWS_SEEN = 0.5
SHADING_TEXELS = 70.0
"""What varies over more than this on bare skin is light that was missed, not skin."""
FLATTENED = 0.85
"""How much of it is taken out."""
FLATTEST = 0.6
"""At most, as a logarithm."""


def face_cover(albedo: RelativeAlbedo, relative: F32, atlas: FaceAtlas, zones: Zones) -> F32:
    """How much of each texel comes from the pictures.

    Args:
        albedo: for its evidence.
        relative: (N, 3) of :func:`flattened`.
        atlas: of both.
        zones: (N,).

    Returns:
        (size, size) in [0, 1], 0 well before the face patch ends.
    """
    seen = np.minimum(albedo.evidence / ENOUGH, 1.0) * atlas.in_face * _clear(relative, zones)
    cover = cv2.medianBlur((255 * atlas.picture(seen.astype(np.float32))).astype(np.uint8), 5)
    # Holes are closed before the edge is pulled in: nostrils and lips are no edges of the face.
    bordered = cv2.copyMakeBorder(cover, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    outline = cv2.erode(
        cv2.morphologyEx(bordered, cv2.MORPH_CLOSE, _disc(HOLE_TEXELS)), _disc(EDGE_TEXELS)
    )
    kept = np.minimum(outline[1:-1, 1:-1], cover).astype(np.float32) / 255.0
    kept[atlas.picture(((zones & Zone.RIM) > 0).astype(np.float32)) > 0] = 0.0
    return np.asarray(cv2.GaussianBlur(kept, (0, 0), FEATHER_TEXELS), np.float32)


def _clear(relative: F32, zones: Zones) -> F32:
    """(N,) in [0, 1]: 0 where bare skin came out dark, which is a strand of hair or a shadow."""
    share = (relative @ LUMINANCE - SHADOW[0]) / (SHADOW[1] - SHADOW[0])
    clear: F32 = np.where(
        (zones & Zone.PLAIN > 0) & (zones & Zone.HAIRY == 0), np.clip(share, 0.0, 1.0), 1.0
    )
    return clear


def _disc(radius: int) -> U8:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return np.asarray(disc, np.uint8)


def flattened(albedo: RelativeAlbedo, atlas: FaceAtlas, zones: Zones) -> F32:
    """(N, 3) the relative albedo without what is left of the light.

    The logarithm of bare, seen skin is averaged over a wide window (normalised convolution); that
    is shading which nine harmonics missed, such as a cast shadow. Most of it is divided out, from
    brows and lips as well; dark hair takes no part in the average.
    """
    logarithm = np.log(np.maximum(albedo.mean, 1e-2))
    brightness = albedo.mean @ LUMINANCE
    plain = (zones & Zone.PLAIN > 0) & (brightness > 0.55) & (brightness < 1.8)
    weights = np.minimum(albedo.evidence, ENOUGH) * plain
    weight = _wide(atlas.picture(weights)) + 0.02
    wide = _wide(atlas.picture(logarithm * weights[:, None])) / weight[..., None]
    shading = np.clip(FLATTENED * wide, -FLATTEST, FLATTEST).astype(np.float32)
    return np.asarray(albedo.mean * np.exp(-atlas.read(shading)), np.float32)


def with_sober_shadows(relative: F32) -> F32:
    """(N, 3) the relative albedo (N, 3), dark texels less colourful.

    A picture of 8 bits, compressed, has hardly any hue left in its shadows; a ratio of two such
    numbers would put rouge around everybody's eyes.
    """
    brightness = np.maximum(relative @ LUMINANCE, 1e-2)[:, None]
    share = (brightness - GREYEST) / (COLOURFUL - GREYEST)
    return np.asarray(
        brightness * (relative / brightness) ** np.clip(share, SOBER, 1.0), np.float32
    )


def sharpened(relative: F32, atlas: FaceAtlas) -> F32:
    """(N, 3) the relative albedo, its details as strong as before many frames were averaged.

    Landmarks tremble by a pixel or so, and that blurs the mean. Unsharp masking of the logarithm,
    bounded, so that no edge overshoots.
    """
    logarithm = np.log(np.maximum(relative, 1e-2))
    blurred = cv2.GaussianBlur(atlas.picture(logarithm), (0, 0), TREMBLE_TEXELS)
    covered = atlas.picture(np.ones(len(relative), np.float32))
    known = cv2.GaussianBlur(covered, (0, 0), TREMBLE_TEXELS)[..., None]
    detail = logarithm - atlas.read(np.asarray(blurred / np.maximum(known, 0.01), np.float32))
    bounded = np.clip(detail, -MOST_DETAIL, MOST_DETAIL)
    return np.asarray(np.exp(logarithm + SHARPENING * bounded), np.float32)


def _wide(picture: F32) -> F32:
    """Gaussian smoothing over SHADING_TEXELS, at an eighth of the size."""
    small = cv2.resize(picture, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), SHADING_TEXELS / 8 / 2, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(cv2.resize(small, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR))


def without_brows(texture: U8, skin: F32, cover: F32, atlas: FaceAtlas, zones: Zones) -> None:
    """Paint plain skin over the default's brows where the person's own were seen, in place.

    Args:
        texture: (H, H, 3) sRGB of any size.
        skin: (3,) 8-bit sRGB.
        cover: (size, size) of :func:`face_cover`.
        atlas: of the cover.
        zones: its (N,) zones.
    """
    brows = (zones & Zone.BROW > 0).astype(np.float32)
    if float(atlas.read(cover) @ brows) < BROWS_SEEN * float(brows.sum()):
        return
    rows, columns = atlas.window.window(len(texture))
    target = texture[rows, columns]
    mask = cv2.GaussianBlur(atlas.picture(brows), (0, 0), FEATHER_TEXELS)
    mask = cv2.resize(np.minimum(1.5 * mask, 1.0), target.shape[1::-1])[..., None]
    np.copyto(target, np.rint(target + mask * (skin - target)).astype(np.uint8))


def lay_in(texture: U8, face: F32, cover: F32, atlas: FaceAtlas) -> None:
    """Blend the face into the texture, in place.

    Args:
        texture: (H, H, 3) sRGB of any size.
        face: (size, size, 3) 8-bit sRGB of the atlas' window.
        cover: (size, size) in [0, 1].
        atlas: whose window it is.
    """
    rows, columns = atlas.window.window(len(texture))
    target = texture[rows, columns]
    inner, share = (
        np.asarray(
            cv2.resize(picture, target.shape[1::-1], interpolation=cv2.INTER_AREA), np.float32
        )
        for picture in (face, cover)
    )
    blended = multiband(inner, target.astype(np.float32), share)
    np.copyto(target, np.clip(np.rint(blended), 0, 255).astype(np.uint8))


def multiband(inner: F32, outer: F32, cover: F32) -> F32:
    """Burt and Adelson's spline of two (H, W, 3) pictures: ``inner`` where cover (H, W) is 1."""
    # Only the difference has to be faded, so one pyramid does for both pictures.
    difference = _extended(inner - outer, cover)
    masks, bands = [cover], []
    for _ in range(OCTAVES):
        smaller = _half(difference)
        bands.append(difference - _double(smaller, difference))
        masks.append(_half(masks[-1]))
        difference = smaller
    joined: F32 = difference * masks[-1][..., None]
    for band, mask in zip(reversed(bands), reversed(masks[:-1]), strict=True):
        joined = _double(joined, band) + band * mask[..., None]
    return outer + joined


def _extended(values: F32, known: F32) -> F32:
    """Values (H, W, 3) where known (H, W) is 1, smoothly continued to where it is 0.

    Averages over ever wider cells fill what the narrower ones left open (push-pull, Gortler et
    al., *The lumigraph*, 1996): an unknown surrounding must not pull the coarse octaves to zero.
    """
    weights, sums = [known], [values * known[..., None]]
    for _ in range(OCTAVES):
        weights.append(_half(weights[-1]))
        sums.append(_half(sums[-1]))
    filled: F32 = (sums[-1] / np.maximum(weights[-1], 1e-3)[..., None]).astype(np.float32)
    for weight, total in zip(reversed(weights[:-1]), reversed(sums[:-1]), strict=True):
        share = np.minimum(weight, 1.0)[..., None]
        mean = total / np.maximum(weight, 1e-6)[..., None]
        mixed = share * mean + (1.0 - share) * _double(filled, total)
        filled = mixed.astype(np.float32, copy=False)
    return filled


def _half(picture: F32) -> F32:
    return np.asarray(cv2.pyrDown(picture), np.float32)


def _double(picture: F32, like: F32) -> F32:
    return np.asarray(cv2.pyrUp(picture, dstsize=like.shape[1::-1]), np.float32)
