"""Names of the networks in checkpoints/ of the repository: what is measured on them is published with it."""

SHIPPED = (
    "toybox-pft", "toybox-pft-late", "toybox-pft-wide", "toybox-sit", "toybox-sit-late", "shapes-pft", "shapes-sit",
    "signs-pft", "signs-fm", "scenes-pft", "scenes-fm",
)  # fmt: skip
