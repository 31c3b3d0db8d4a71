// Where the CPU kernels find what a step and a call tell them: byte offsets, read by TypeScript (which writes them) and by
// AssemblyScript (which compiles this very file), hence plain numbers and nothing else. Addresses and counts are u32.

/** The header, at the start of the memory. What several threads write has a cache line of its own. */
export const STEP_NUMBER = 64;
export const ARRIVED = 128;
export const BARRIER_NUMBER = 192;
export const SLEEPERS = 256;
export const NUM_THREADS = 320;
/** Set before STEP_NUMBER changes for the last time: the threads return. */
export const STOPPED = 324;
export const NUM_CALLS = 328;
export const CALLS = 332;
export const NUM_TOKENS = 336;
export const NUM_SEQUENCES = 340;
export const NUM_SAMPLES = 344;
/** u32 [numTokens] */
export const TOKEN_IDS = 348;
/** u32 [numTokens] */
export const POSITIONS = 352;
/** u32 [numTokens] */
export const SLOT_MAPPING = 356;
/** u32 [numSequences + 1] */
export const QUERY_START = 360;
/** u32 [numSequences] */
export const CONTEXT_LENGTHS = 364;
/** u32 [numSequences][MAX_BLOCKS] */
export const BLOCK_TABLES = 368;
export const MAX_BLOCKS = 372;
/** u32 [numSamples] */
export const SAMPLE_ROWS = 376;
/** A piece of working memory for each thread. */
export const SCRATCH = 380;
export const SCRATCH_BYTES = 384;
export const HEADER_BYTES = 448;

/** A call: one kernel over one step's rows. */
export const CALL_BYTES = 128;
export const KIND = 0;
/** The next task that nobody has taken. */
export const NEXT_TASK = 4;
/** 0: a row per token; 1: a row per sample. */
export const ROWS = 8;
/** Matrices of activations are f32 [rows][stride]; strides are in floats. */
export const INPUT = 12;
export const INPUT_STRIDE = 16;
export const OUTPUT = 20;
export const OUTPUT_STRIDE = 24;

export const EMBEDDING = 1;
export const LAYER_NORM = 2;
export const QUANTIZE_ROWS = 3;
export const LINEAR_I8 = 4;
export const LINEAR_F32 = 5;
export const STORE_KV = 6;
export const ATTENTION = 7;
export const GATHER_ROWS = 8;

/** Rows of a matrix that are packed together: three vectors of four. */
export const PANEL = 12;
/** Rows of activations that a linear task takes at most, so that they stay in the second-level cache. */
export const ROW_BLOCK = 64;

/** Of a linear. INPUT is f32, or the limbs that QUANTIZE_ROWS made; BIAS and RESIDUAL are 0 where there is none. */
export const WEIGHT = 28;
/** f32 [out]: what int8 rows are scaled by. */
export const WEIGHT_SCALES = 32;
/** i32 [out]: LIMB_ZERO times the sum of each row. */
export const WEIGHT_SUMS = 36;
/** f32 [rows]: what limbs are scaled by. */
export const ROW_SCALES = 40;
export const IN_WIDTH = 44;
export const NUM_PANELS = 48;
export const PANELS_PER_TASK = 52;
export const BIAS = 56;
/** 0: none, 1: tanh GELU, 2: exact GELU. */
export const ACTIVATION = 60;
/** f32 [rows][OUTPUT_STRIDE] */
export const RESIDUAL = 64;

/** Of QUANTIZE_ROWS: OUTPUT_STRIDE is in bytes; IN_WIDTH and ROW_SCALES as above. */
/** A value is split in three limbs of 7 bits, each stored with this added. */
export const LIMB_ZERO = 64;
/** The largest |value| is mapped to this; with the zeros added it needs 21 bits. */
export const LIMB_MAX = 1_040_000;

/** Of LAYER_NORM, beside IN_WIDTH. */
export const NORM_SCALE = 28;
export const NORM_BIAS = 32;
export const NORM_EPSILON = 36;

/** Of EMBEDDING, beside WEIGHT, WEIGHT_SCALES and IN_WIDTH: 1 where the table is int8; f32 [positions][stride] or 0. */
export const TABLE_IS_I8 = 56;
export const POSITION_TABLE = 60;

/** Of STORE_KV and ATTENTION. Keys are f32 [block][KV head][HEAD_SIZE][16], values f32 [block][KV head][16][VALUE_STRIDE]. */
export const KEYS = 28;
export const VALUES = 32;
export const NUM_HEADS = 36;
export const NUM_KV_HEADS = 40;
export const HEAD_SIZE = 44;
/** HEAD_SIZE rounded up to 8. */
export const VALUE_STRIDE = 48;
export const SCORE_SCALE = 52;
/** Room for the scores of one row, floats. */
export const SCORE_STRIDE = 56;
