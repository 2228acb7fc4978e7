"""Facts: what files, tensors and verdicts are called, and how an exported model is checked.

Flow: imports nothing, is imported by everything; a choice belongs in `recipes.py` instead, and what
is true of one data set alone in its `DataSet`.
"""

# --- the data ---------------------------------------------------------------------------------
SPLIT_NAMES = ("train", "val", "test")
DATA_CACHE = "~/.medmnist"  # MedMNIST's own cache folder: a file that is there is shared
DATA_VARIABLE = "BLOODKERAS_DATA"

# --- how MedMNIST made small images out of photographs -----------------------------------------
# "Centre crop 200x200, resize to 28x28" says the paper; the JPEG round trip is not in the paper,
# but without it pixels differ from the published ones by 6.7 grey levels instead of 1.5.
CROP_SIDE = 200
JPEG_QUALITY = 75  # with 4:2:0 chroma, both Pillow's defaults

# --- a run folder -----------------------------------------------------------------------------
RUN_RECIPE = "recipe.json"
RUN_DATA = "data.json"
RUN_INFO = "run.json"
RUN_HISTORY = "history.csv"
RUN_MODEL = "model.keras"

# --- the exported model -----------------------------------------------------------------------
INPUT_NAME = "images"  # uint8 (N, S, S, 3), raw pixels
OUTPUT_NAME = "probs"  # float32 (N, K), rows sum to 1
FOREIGN_NAME = "foreign"  # float32 (N,), larger for what looks less like a cell of the classes
PHOTOGRAPH_NAME = "photograph"  # uint8 (H, W, 3), RGB, as decoded: of the file that frames it too
SIDE_NAME = "side"  # int32 (1,), of the square to keep, in pixels; 0: the rule for one photograph
VERDICT_NAME = "verdict"  # int32 (1,), a place in VERDICTS
PIXELS_NAME = "pixels"  # uint8 (S, S, 3), what the network saw
BATCH_AXIS = "N"
ONNX_OPSET = 17
MODEL_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"  # the same network in eight bits: quicker, may be missing
PHOTOGRAPH_FILE = "photograph.onnx"  # the same, with all that is done to a photograph before
CARD_FILE = "card.json"
MODEL_CARD_FILE = "MODEL_CARD.md"
MODEL_CARD_PAGE = "MODEL_CARD.html"  # the same with figures, in one file
SUMS_FILE = "SHA256SUMS"
EXPORT_FILES = (
    MODEL_FILE,
    INT8_FILE,
    PHOTOGRAPH_FILE,
    CARD_FILE,
    MODEL_CARD_FILE,
    MODEL_CARD_PAGE,
    SUMS_FILE,
)
PRECISIONS = {"float32": MODEL_FILE, "int8": INT8_FILE}
PAIR_LIMIT = 2**15 - 1  # of two products' sum in eight bits: what 16 signed bits hold
METADATA_PREFIX = "bloodkeras."  # of the keys in the ONNX metadata
PARITY_TOLERANCE = 1e-5  # largest difference of a probability between Keras and ONNX
STORED_TOLERANCE = 2e-2  # the same once kernels are rounded to half precision, as files hold them
PARITY_BATCH_SIZES = (1, 7, 256)

# --- what an answer is worth ------------------------------------------------------------------
ACCEPTED = "accepted"  # act on it
UNSURE = "unsure"  # too close to call, or its frame is in doubt: have somebody look
FOREIGN = "foreign"  # unlike the training data: none of its classes, or another laboratory's
VERDICTS = (ACCEPTED, UNSURE, FOREIGN)

# --- what is stamped on everything that was not made from photographs -------------------------
SYNTHETIC_STAMP = "SYNTHETIC DATA: drawn cells, not BloodMNIST; the numbers mean nothing"
