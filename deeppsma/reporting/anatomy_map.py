"""An organ map, ready to be asked what is near a place.

Organ maps hold no lymph nodes, so the label that most of a focus' voxels carry is often wrong: a mediastinal node
lies in voxels called lung or heart. A name is therefore the site whose labels are nearest on average, with an
allowance for each site (`deeppsma.reporting.anatomy_sites`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeppsma.core import anatomy as organs
from deeppsma.core.volume import Volume
from deeppsma.reporting.anatomy_names import Naming, SiteName, unnamed
from deeppsma.reporting.anatomy_sites import Site, SiteRules, load_sites

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

#: The organ map is looked at in steps of about this, mm: names need no more.
_STEP_MM = 2.5
#: Voxels of a focus that are asked; spread evenly.
_POINTS = 150
#: Around a landmark's height, mm.
_HEIGHT_MM = 12.0
#: A focus farther than this from a bone is not in it, whatever else is near.
_BONE_MM = 10.0
#: Where the map has no prostate, its bed is looked for: a ball of this radius, this far below and behind the lowest
#: part of the bladder (its last `_FLOOR_MM`).
_BED_RADIUS_MM, _BED_BELOW_MM, _BED_BEHIND_MM, _FLOOR_MM = 18.0, 12.0, 8.0, 10.0
_BED = "prostate or its bed"


class AnatomyMap:
    """The organ map of a session, ready to be asked.

    Parameters
    ----------
    organs_map
        TotalSegmentator labels on any grid.
    rules
        Sites; the shipped ones if None.
    """

    def __init__(self, organs_map: Volume, rules: SiteRules | None = None) -> None:
        self.rules = rules or load_sites()
        steps = tuple(max(1, round(_STEP_MM / s)) for s in organs_map.geometry.spacing_zyx)
        thin = np.ascontiguousarray(organs_map.voxels[:: steps[0], :: steps[1], :: steps[2]])
        index = np.argwhere(_surface(thin))
        labels = thin[tuple(index.T)]
        order = np.argsort(labels, kind="stable")
        index, labels = index[order], labels[order]
        world = organs_map.geometry.index_to_world(index * np.array(steps))
        starts = np.searchsorted(labels, np.arange(organs.LABEL_MAX + 2))
        self._points = {label: world[a:b] for label, (a, b) in enumerate(pairwise(starts)) if label and b > a}
        self._without_prostate = organs.PROSTATE not in self._points
        if self._without_prostate and organs.BLADDER in self._points:
            self._points[organs.PROSTATE] = _bed(self._points[organs.BLADDER])
        # Boxes around the labels; those that are not there lie nowhere.
        self._low = np.full((organs.LABEL_MAX + 1, 3), np.inf)
        self._high = np.full((organs.LABEL_MAX + 1, 3), -np.inf)
        for label, found in self._points.items():
            self._low[label], self._high[label] = found.min(axis=0), found.max(axis=0)
        self._map = organs_map
        self._trees: dict[int, cKDTree] = {}
        self._spine = self._spine_course()
        self._promontory = self._height_of(organs.SACRUM)
        self._aortic_hiatus = self._height_of(organs.VERTEBRAE[organs.VERTEBRA_NAMES.index("T12")])
        self._neck = self._height_of(organs.VERTEBRAE[organs.VERTEBRA_NAMES.index("C7")])
        self._caval_hiatus = self._height_of(organs.VERTEBRAE[organs.VERTEBRA_NAMES.index("T8")])

    def name(self, points_xyz: NDArray[np.float64]) -> Naming:
        """Name of a focus.

        Parameters
        ----------
        points_xyz
            World points (n, 3) of its voxels' centres, mm, n at least 1.

        Raises
        ------
        ValueError
            If there is no point.
        """
        if len(points_xyz) == 0:
            raise ValueError("a focus without a voxel has no name")
        step = max(1, len(points_xyz) // _POINTS)
        return self._named(points_xyz[::step])

    def _named(self, points: NDArray[np.float64]) -> Naming:
        centre = points.mean(axis=0)
        inside = self._labels_at(points)
        height = self._vertebra_at(centre[2])
        distances: dict[int, float] = {}
        found: list[tuple[float, float, Site]] = []
        within_reach = self._within_reach(points)
        for site in self.rules.sites:
            labels = [label for label in site.labels if within_reach[label]]
            if not labels or not self._possible(site, centre):
                continue
            each = [self._distance(label, points, inside, distances) for label in labels]
            if (mean := min(each)) <= self.rules.largest_mm:
                # Bones that are too far to be it come after all else: a second choice at most.
                late = self.rules.largest_mm if site.kind == "bone" and mean > _BONE_MM else 0.0
                found.append((mean + site.bias_mm + late, mean, site))
        found.sort(key=lambda entry: entry[0])
        names: list[tuple[float, SiteName]] = []
        if found and found[0][2].kind == "bone" and found[0][1] > _BONE_MM:
            nothing = SiteName("unlabelled", "soft tissue", "other", self._side(centre), height=height)
            names.append((found[0][0], nothing))
        for cost, mean, site in found:
            side = site.side if site.sided != "place" else self._side(centre)
            # Removed, or missed by whoever made the map: nobody can say which.
            called = _BED if self._without_prostate and site.labels == (organs.PROSTATE,) else site.name
            name = SiteName(called, site.kind, site.region, side, site.level, mean, height)
            if all((n.name, n.side, n.level) != (name.name, name.side, name.level) for _, n in names):
                names.append((cost, name))
            if len(names) == 2:
                return Naming(names[0][1], names[1][1], names[1][0] - names[0][0])
        if not names:
            return Naming(
                SiteName("unlabelled", "soft tissue", "other", self._side(centre), "", height=height), None, 0.0
            )
        return Naming(names[0][1], None, float("inf"))

    def labels_at(self, points_xyz: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Labels at world points; 0 outside the map."""
        return self._labels_at(points_xyz)

    def in_head(self, points_xyz: NDArray[np.float64]) -> bool:
        """Whether points lie in the soft tissue at or above the jaw: above C4, outside labelled organs and bones."""
        c4 = self._height_of(organs.VERTEBRAE[organs.VERTEBRA_NAMES.index("C4")])
        if c4 is None and organs.SKULL in self._points:
            c4 = float(self._points[organs.SKULL][:, 2].min())
        if c4 is None or points_xyz[:, 2].mean() < c4:
            return False
        return bool((self._labels_at(points_xyz) == 0).mean() > 0.5)

    def within(self, points_xyz: NDArray[np.float64], labels: tuple[int, ...], reach_mm: float) -> NDArray[np.bool_]:
        """Which of the world points lie in labels, or at most ``reach_mm`` from them."""
        near = np.isin(self._labels_at(points_xyz), labels)
        reach = reach_mm * (1 + 1e-9)
        for label in labels:
            gap = np.maximum(self._low[label] - points_xyz, points_xyz - self._high[label]).max(axis=1)
            asked = np.flatnonzero(~near & (gap <= reach))
            if len(asked):
                distance, _ = self._tree(label).query(points_xyz[asked], distance_upper_bound=reach)
                near[asked] = np.isfinite(distance)
        return near

    def _tree(self, label: int) -> cKDTree:
        if label not in self._trees:
            from scipy.spatial import cKDTree

            self._trees[label] = cKDTree(self._points[label])
        return self._trees[label]

    def _labels_at(self, points: NDArray[np.float64]) -> NDArray[np.uint8]:
        index = np.rint(self._map.geometry.world_to_index(points)).astype(int)
        shape = np.array(self._map.geometry.shape_zyx)
        there = ((index >= 0) & (index < shape)).all(axis=1)
        out = np.zeros(len(points), np.uint8)
        out[there] = self._map.voxels[tuple(index[there].T)]
        return out

    def _distance(
        self, label: int, points: NDArray[np.float64], inside: NDArray[np.uint8], known: dict[int, float]
    ) -> float:
        """Mean distance of points from a label, 0 inside."""
        if label not in known:
            away, _ = self._tree(label).query(points)
            known[label] = float(np.where(inside == label, 0.0, away).mean())
        return known[label]

    def _within_reach(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """By label: whether its box is near enough to the points' for a name."""
        gap = np.maximum(self._low - points.max(axis=0), points.min(axis=0) - self._high)
        return np.asarray(np.linalg.norm(np.maximum(gap, 0), axis=1) <= self.rules.largest_mm)

    def _possible(self, site: Site, centre: NDArray[np.float64]) -> bool:
        z = centre[2]
        # A landmark that the map does not have rules nothing out.
        low = -np.inf if self._promontory is None else self._promontory
        aorta, cava = (np.inf if h is None else h for h in (self._aortic_hiatus, self._caval_hiatus))
        heights = {
            "anywhere": (-np.inf, np.inf),
            "pelvis": (-np.inf, low + _HEIGHT_MM if np.isfinite(low) else np.inf),
            "abdomen": (low, aorta),
            "below cava's hiatus": (low, cava),
            "chest": (aorta if np.isfinite(aorta) else -np.inf, np.inf if self._neck is None else self._neck),
        }
        lowest, highest = heights[site.where]
        if not lowest <= z <= highest:
            return False
        reach = site.midline_within_mm
        return reach is None or self._spine is None or abs(centre[0] - self._middle(z)) <= reach

    def _side(self, centre: NDArray[np.float64]) -> str:
        if self._spine is None:
            return ""
        aside = centre[0] - self._middle(centre[2])
        if abs(aside) < self.rules.midline_mm:
            return "midline"
        return "left" if aside > 0 else "right"

    def _spine_course(self) -> NDArray[np.float64] | None:
        """Rows z, x from below: the middle of each vertebra, the sacrum's for what lies below; None without any."""
        found = [self._points[label] for label in (organs.SACRUM, *organs.VERTEBRAE) if label in self._points]
        if not found:
            return None
        rows = np.array([[p[:, 2].mean(), (p[:, 0].min() + p[:, 0].max()) / 2] for p in found])
        return np.asarray(rows[np.argsort(rows[:, 0])])

    def _middle(self, z: float) -> float:
        assert self._spine is not None  # noqa: S101 - asked before
        return float(np.interp(z, self._spine[:, 0], self._spine[:, 1]))

    def _height_of(self, label: int) -> float | None:
        """Height of a bone's top, without its last few voxels; None where the map has no such bone."""
        points = self._points.get(label)
        return None if points is None else float(np.percentile(points[:, 2], 95))

    def _vertebra_at(self, z: float) -> str:
        """Vertebra whose middle is nearest in height; "" beyond the spine's ends."""
        best, name = 20.0, ""
        for label, each in zip(organs.VERTEBRAE, organs.VERTEBRA_NAMES, strict=True):
            if label in self._points and abs(self._points[label][:, 2].mean() - z) < best:
                best, name = abs(float(self._points[label][:, 2].mean()) - z), each
        return name


def name_foci(
    foci: Sequence[NDArray[np.float64]], organs_map: Volume | None, asked: AnatomyMap | None = None
) -> list[Naming]:
    """Names of foci, each given by world points (n, 3).

    Parameters
    ----------
    foci
        Any number.
    organs_map
        Of the session; without one all are unnamed.
    asked
        The same map, made ready before; made now if None.
    """
    if not foci:
        return []
    if organs_map is None:
        return [unnamed() for _ in foci]
    asked = asked or AnatomyMap(organs_map)
    return [asked.name(points) for points in foci]


def _bed(bladder: NDArray[np.float64]) -> NDArray[np.float64]:
    """World points that fill the place of a prostate, by the bladder's: below its neck, before the rectum."""
    floor = float(np.percentile(bladder[:, 2], 2))
    x, y, _ = np.median(bladder[bladder[:, 2] <= floor + _FLOOR_MM], axis=0)
    axis = np.arange(-_BED_RADIUS_MM, _BED_RADIUS_MM + 1, _STEP_MM)
    offsets = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    ball = offsets[np.linalg.norm(offsets, axis=1) <= _BED_RADIUS_MM]
    return np.asarray(ball + np.array((x, y + _BED_BEHIND_MM, floor - _BED_BELOW_MM)))


def _surface(labels: NDArray) -> NDArray[np.bool_]:
    """Voxels whose label differs from a face neighbour's, and labelled ones on the border."""
    out = np.zeros(labels.shape, bool)
    for axis in range(3):
        first = [slice(None)] * 3
        last = [slice(None)] * 3
        first[axis], last[axis] = slice(None, -1), slice(1, None)
        differs = labels[tuple(first)] != labels[tuple(last)]
        out[tuple(first)] |= differs
        out[tuple(last)] |= differs
        for edge in (0, -1):
            place: list[slice | int] = [slice(None)] * 3
            place[axis] = edge
            out[tuple(place)] = True
    return out & (labels > 0)
