"""Each kind of look-alike is drawn on the wall, and what is laid on a wall hides its cracks."""

from collections.abc import Callable

import numpy as np
import pytest

from model import synthetic_look_alikes as look_alikes
from model.synthetic import _cast_bars
from model.synthetic_cracks import trace_cracks
from model.synthetic_wall import Rng, Wall, blur, build_wall

SIZE_HW = (192, 256)
SEEDS = range(8)
KINDS = {
    look_alikes.pierce_pores: "concrete",
    look_alikes.mark_formwork: "concrete",
    look_alikes.drill_tie_holes: "concrete",
    look_alikes.fill_expansion_joints: "concrete",
    look_alikes.seal_joints: "asphalt",
    look_alikes.lay_patch: "asphalt",
    look_alikes.lay_kerb: "asphalt",
    look_alikes.paint_lanes: "asphalt",
    look_alikes.paint_base: "plaster",
    look_alikes.run_streaks: "plaster",
    look_alikes.soil: "plaster",
    look_alikes.wet: "concrete",
    look_alikes.grow_verge: "asphalt",
    look_alikes.mount_objects: "plaster",
    look_alikes.hang_cables: "plaster",
}

Draw = Callable[[Rng, Wall], None]


def draw(kind: Draw, seed: int) -> tuple[Wall, Wall]:
    """The same wall without and with the look-alike."""
    plain, drawn = (build_wall(np.random.default_rng(seed), SIZE_HW, KINDS[kind]) for _ in range(2))
    kind(np.random.default_rng(seed + 1000), drawn)
    return plain, drawn


def changes(kind: Draw) -> list[np.ndarray]:
    """By how much each pixel grew lighter, for several seeds."""
    return [(drawn.albedo_hwc - plain.albedo_hwc).mean(axis=2) for plain, drawn in (draw(kind, seed) for seed in SEEDS)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_is_seen_on_most_walls(kind: Draw) -> None:
    shares = [(np.abs(change_hw) > 0.02).mean() for change_hw in changes(kind)]
    assert np.median(shares) > 5e-4


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_keeps_the_wall_in_float32_and_plausible(kind: Draw) -> None:
    for seed in SEEDS:
        _, drawn = draw(kind, seed)
        assert {plane.dtype for plane in (drawn.albedo_hwc, drawn.relief_hw, drawn.covered_hw)} == {np.dtype(np.float32)}
        assert np.isfinite(drawn.relief_hw).all()
        assert drawn.albedo_hwc.min() > -0.3
        assert drawn.albedo_hwc.max() < 2


def test_paint_is_lighter_than_the_road() -> None:
    lighter = [change_hw[np.abs(change_hw) > 0.1].mean() > 0.1 for change_hw in changes(look_alikes.paint_lanes)]
    assert sum(lighter) >= len(lighter) - 1  # a line at the picture's border leaves hardly anything to see


def test_bitumen_is_darker_than_the_road_and_hides_its_cracks() -> None:
    for seed in SEEDS:
        plain, sealed = draw(look_alikes.seal_joints, seed)
        is_sealed_hw = sealed.covered_hw > 0.99
        if is_sealed_hw.any():
            assert sealed.albedo_hwc[is_sealed_hw].mean() < 0.6 * plain.albedo_hwc[is_sealed_hw].mean()
            assert not trace_cracks(np.random.default_rng(seed), sealed)[is_sealed_hw].any()


def test_a_wet_wall_is_darker_on_one_side_of_a_crisp_border() -> None:
    plain, drawn = draw(look_alikes.wet, 1)
    ratio_hw = (drawn.albedo_hwc / plain.albedo_hwc).mean(axis=2)
    is_between_hw = (ratio_hw > ratio_hw.min() + 0.1) & (ratio_hw < 0.9)
    assert 0.02 < (ratio_hw < 0.9).mean() < 0.98
    assert is_between_hw.mean() < 0.1


def test_grass_is_green_and_hides_the_cracks() -> None:
    _, drawn = draw(look_alikes.grow_verge, 1)
    _, green, blue = np.moveaxis(drawn.albedo_hwc[drawn.covered_hw > 0.99], -1, 0)
    assert len(green) > 0
    assert green.mean() > blue.mean() * 1.2


def test_a_kerb_stays_at_one_side_of_the_picture() -> None:
    shares = [draw(look_alikes.lay_kerb, seed)[1].covered_hw.mean() for seed in SEEDS]
    assert np.median(shares) > 0
    assert max(shares) < 0.45


def test_cables_have_a_shadow_beside_them() -> None:
    n_shaded = 0
    for seed in SEEDS:
        plain, drawn = draw(look_alikes.hang_cables, seed)
        beside_hw = (blur(drawn.covered_hw, 4) > 0.05) & (drawn.covered_hw == 0)
        n_shaded += bool(beside_hw.any() and (drawn.albedo_hwc / plain.albedo_hwc)[beside_hw].mean() < 0.98)
    assert n_shaded >= len(SEEDS) // 2


def test_a_railing_casts_many_parallel_bars_with_soft_edges() -> None:
    shadow_hw = _cast_bars(np.random.default_rng(1), SIZE_HW, n_bars=0)
    n_edges = [np.count_nonzero(np.diff(line > 0.5)) for line in (shadow_hw[SIZE_HW[0] // 2], shadow_hw[:, SIZE_HW[1] // 2])]
    assert max(n_edges) >= 6
    assert ((shadow_hw > 0.1) & (shadow_hw < 0.9)).any()


def test_masonry_has_running_and_stacked_bonds_and_tiles() -> None:
    walls = [build_wall(np.random.default_rng(seed), (64, 96), "masonry") for seed in range(40)]
    steps = [wall.block_hw[1] / wall.block_hw[0] if wall.block_hw else None for wall in walls]
    assert None in steps  # tiles: a crack crosses them
    assert any(step and step < 3.4 for step in steps)  # running bond: half a block aside with each course
    assert any(step and step > 3.9 for step in steps)  # stacked bond: a whole block


def test_what_is_mounted_hides_the_cracks_and_leaves_no_crumbs() -> None:
    for seed in SEEDS:
        _, drawn = draw(look_alikes.mount_objects, seed)
        coverage_hw = trace_cracks(np.random.default_rng(seed), drawn)
        assert not coverage_hw[drawn.covered_hw > 0].any()
