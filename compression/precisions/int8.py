"""int8, layer by layer where it pays."""

from edge.compression.int8 import plan
from edge.compression.precisions.record import LayerFormat, Precision

FORMATS = {
    "int8-dynamic": LayerFormat(1, scaled=True),
    "int8-static": LayerFormat(1, scaled=True, calibrated=True),
    "int8-weights": LayerFormat(1, scaled=True),
}
INT8 = Precision("int8", plan, FORMATS, min_parity_db=8.0, golden_min_db=25.0)
