"""Copies of photographs, found though they are cropped, turned, mirrored, inverted, scaled or compressed again.

A photograph is described by its most striking small parts (SIFT: Lowe 2004), each by bits that say on which side of random
planes its descriptor lies. Parts that agree in the 16 bits of one word, and in most of all 128, are pairs. A photograph is a
copy where many of its pairs with another one agree about where the one lies in the other. Left to others: which photographs
are compared, and what a copy means.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE_PX = 256  # the longer one, of the picture that is described
MAX_PARTS = 240  # of a photograph
INDEXED_PARTS = 160  # fewer than MAX_PARTS: the corners of a frame around a copy may be the most striking ones
MAX_INDEX_PARTS = 4_000_000  # some 340 MB; 2,000 photographs have 320,000
LEAST_AGREEING = 9  # parts, between a photograph and its copy: docs/security.md says which copies are found
_N_WORDS = 8  # of 16 bits
_PLANES = np.random.default_rng(0).standard_normal((128, 16 * _N_WORDS)).astype(np.float32)
_LARGEST_DISTANCE = 24  # of 128 bits, between the parts of a pair
_MAX_FOUND = 200  # parts with the same word: commoner words tell nothing
_MAX_CANDIDATES = 10
_MAX_PAIRS = 150  # of one candidate
_MOST_PX_APART, _MOST_RADIANS_APART, _LARGEST_SCALE_RATIO = 8.0, 0.35, 1.5

Places = NDArray[np.float32]  # of parts: x, y, size and angle in degrees, (n, 4)
Codes = NDArray[np.uint8]  # of parts: their bits, (n, 16)


@dataclass(frozen=True)
class Description:
    """The parts of one photograph: their places, and their bits as it is, mirrored (top to bottom), inverted, and both."""

    places: Places
    codes_by_form: NDArray[np.uint8]  # (4, n, 16)

    @classmethod
    def of(cls, image_hwc_u8: NDArray[np.uint8]) -> Self:
        """Describe an image (height, width, 3), RGB, 0..255."""
        height, width = image_hwc_u8.shape[:2]
        scale = SIDE_PX / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(image_hwc_u8, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        sift = cv2.SIFT.create(
            nfeatures=MAX_PARTS, contrastThreshold=0.005, edgeThreshold=20, sigma=1.6, enable_precise_upscale=True
        )
        parts, descriptors = sift.detectAndCompute(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), None)
        if not parts:
            return cls.none()
        strongest = np.argsort([-part.response for part in parts], kind="stable")[:MAX_PARTS]
        places = np.array([(*part.pt, part.size, part.angle) for part in parts], np.float32)
        return cls(places[strongest], _codes(np.asarray(descriptors[strongest], np.float32)))

    @classmethod
    def none(cls) -> Self:
        """The description of a photograph without any striking part."""
        return cls(np.zeros((0, 4), np.float32), np.zeros((4, 0, 2 * _N_WORDS), np.uint8))


def _codes(descriptors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(n, 128) to (4, n, 16). In a descriptor's 4 x 4 cells of 8 directions, a mirror image has the rows and the directions the
    other way round; an inverted one has rows and columns, as its parts' own angles are turned by half.
    """
    cells = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-6)).reshape(-1, 4, 4, 8)
    inverted = cells[:, ::-1, ::-1]
    forms = np.stack([cells, _mirrored(cells), inverted, _mirrored(inverted)])
    centred = forms - forms.mean(0)  # so that each plane has about half of the parts on either side
    return np.packbits(centred.reshape(4, -1, 128) @ _PLANES > 0, axis=-1)


def _mirrored(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    return cells[:, ::-1, :, -np.arange(8) % 8]


@dataclass(frozen=True)
class Match:
    """`photograph`: its number in the index; `n_agreeing`: pairs of parts that agree about where the one is in the other."""

    photograph: int
    n_agreeing: int


class Index:
    """Described photographs, among which copies are found."""

    def __init__(self, owners: NDArray[np.int32], places: Places, codes: Codes) -> None:
        """Of all parts: the number of their photograph, where they are in it, and their bits."""
        self.owners, self.places, self.codes = owners, places, codes
        words = codes.view(np.uint16).T
        self._order = np.argsort(words, axis=1, kind="stable").astype(np.int32)
        self._words = np.take_along_axis(words, self._order, 1)

    @classmethod
    def build(cls, descriptions: Sequence[Description]) -> Self:
        """A photograph's number is its index in `descriptions`. If there are very many, each is indexed by fewer parts."""
        n_each = max(1, min(INDEXED_PARTS, MAX_INDEX_PARTS // max(1, len(descriptions))))
        n_parts = [len(described.places[:n_each]) for described in descriptions]
        return cls(
            np.repeat(np.arange(len(descriptions), dtype=np.int32), n_parts),
            np.concatenate([np.zeros((0, 4), np.float32), *(one.places[:n_each] for one in descriptions)]),
            np.concatenate([np.zeros((0, 16), np.uint8), *(one.codes_by_form[0, :n_each] for one in descriptions)]),
        )

    @property
    def n_bytes(self) -> int:
        return sum(array.nbytes for array in (self.owners, self.places, self.codes, self._order, self._words))

    def find(self, described: Description) -> Match | None:
        """The photograph that most pairs of parts agree about, if there is any."""
        return max(self._matches(described), key=lambda match: match.n_agreeing, default=None)

    def copies(self, described: Description) -> set[int]:
        """The numbers of the photographs of which the described one is a copy, itself among them; at most ten."""
        return {match.photograph for match in self._matches(described) if match.n_agreeing >= LEAST_AGREEING}

    def _matches(self, described: Description) -> Iterator[Match]:
        for number, form, places, known in self._candidates(described):
            yield Match(number, _n_agreeing(places, known, form))

    def _candidates(self, described: Description) -> Iterator[tuple[int, int, Places, Places]]:
        """The likeliest photographs: number, form, and the places of the paired parts in the described and in that photograph.

        A part with many pairs, as in a frame or a repeated pattern, counts less in each of them.
        """
        n_parts = len(described.places)
        codes = described.codes_by_form.reshape(-1, 16)
        mine, known = self._pairs(codes)
        is_close = np.bitwise_count(codes.view(np.uint64)[mine] ^ self.codes.view(np.uint64)[known]).sum(1) <= _LARGEST_DISTANCE
        pairs = np.unique(np.stack([mine[is_close], known[is_close]]), axis=1)
        weights = 1 / np.bincount(pairs[0])[pairs[0]]
        candidates, candidate_of = np.unique(self.owners[pairs[1]] * 4 + pairs[0] // max(1, n_parts), return_inverse=True)
        likelihoods = np.bincount(candidate_of, weights)
        for number in np.argsort(-likelihoods, kind="stable")[:_MAX_CANDIDATES]:
            own = np.flatnonzero(candidate_of == number)
            mine, known = pairs[:, own[np.argsort(-weights[own], kind="stable")[:_MAX_PAIRS]]]
            photograph, form = divmod(int(candidates[number]), 4)
            yield photograph, form, described.places[mine % n_parts], self.places[known]

    def _pairs(self, codes: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Parts that agree in one word or more: their numbers among `codes`, and in the index."""
        mine, known = [], []
        for words, order, wanted in zip(self._words, self._order, codes.view(np.uint16).T, strict=True):
            first = np.searchsorted(words, wanted, "left")
            n_found = np.searchsorted(words, wanted, "right") - first
            n_found[n_found > _MAX_FOUND] = 0
            starts = np.cumsum(n_found) - n_found
            mine.append(np.repeat(np.arange(len(codes)), n_found))
            known.append(order[np.arange(n_found.sum()) + np.repeat(first - starts, n_found)])
        return np.concatenate(mine), np.concatenate(known)


def _n_agreeing(places: Places, known: Places, form: int) -> int:
    """The most pairs of parts that fit one similarity transform; each pair proposes one, as parts have a size and an angle."""
    is_mirrored, is_inverted = form & 1, form & 2
    flip = -1 if is_mirrored else 1
    here, there = places[:, 0] + flip * 1j * places[:, 1], known[:, 0] + 1j * known[:, 1]
    angle = np.deg2rad(flip * places[:, 3]) + (np.pi if is_inverted else 0)
    maps = known[:, 2] / places[:, 2] * np.exp(1j * (np.deg2rad(known[:, 3]) - angle))
    between = maps[None] / maps[:, None]
    does_agree = (
        (np.abs(there[:, None] + maps[:, None] * (here[None] - here[:, None]) - there[None]) < _MOST_PX_APART)
        & (np.abs(np.angle(between)) < _MOST_RADIANS_APART)
        & (np.abs(np.log(np.abs(between))) < np.log(_LARGEST_SCALE_RATIO))
    )
    best = does_agree[np.argmax(does_agree.sum(1))]
    # Repeated patterns pair one part with many, and a part can have several angles: each place counts once.
    return min(len(np.unique(np.round(side[best]))) for side in (here, there))
