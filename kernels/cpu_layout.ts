// Where the CPU kernels find what a step and a call tell them: byte offsets, read by TypeScript (which writes them) and by
// AssemblyScript (which compiles this very file), hence plain numbers and nothing else. Addresses and counts are u32.

/** The header, at the start of the memory. What several threads write has a cache line of its own. */
export const STEP_NUMBER = 64;
export const SLEEPERS = 128;
/** Set before STEP_NUMBER changes for the last time: the threads return. */
export const STOPPED = 192;
export const NUM_THREADS = 196;
export const NUM_CALLS = 200;
export const CALLS = 204;
export const NUM_TOKENS = 208;
export const NUM_SEQUENCES = 212;
export const NUM_SAMPLES = 216;
/** u32 [numTokens] */
export const TOKEN_IDS = 220;
/** u32 [numTokens] */
export const POSITIONS = 224;
/** u32 [numTokens] */
export const SLOT_MAPPING = 228;
/** u32 [numSequences + 1] */
export const QUERY_START = 232;
/** u32 [numSequences] */
export const CONTEXT_LENGTHS = 236;
/** u32 [numSequences][MAX_BLOCKS] */
export const BLOCK_TABLES = 240;
export const MAX_BLOCKS = 244;
/** u32 [numSamples] */
export const SAMPLE_ROWS = 248;
/** A piece of working memory for each thread. */
export const SCRATCH = 252;
export const SCRATCH_BYTES = 256;
/** u32 [numSequences]: slots of what recurrent layers keep. */
export const STATE_SLOTS = 260;
/** u32 [numSequences]: where sums that are made online are kept. */
export const ONLINE_PLACES = 264;
/** What is summed before a step's rows: records of ONLINE_SUM_BYTES. */
export const NUM_ONLINE_SUMS = 268;
export const ONLINE_SUMS = 272;
export const HEADER_BYTES = 320;

/**
 * A call: one kernel over one step's rows. It begins with two u64 counters, the step's number in their upper halves:
 * tasks that nobody has taken, and tasks that are not finished. Each has a cache line of its own, for all threads write
 * the first, and those without a task look at the second.
 */
export const CALL_BYTES = 192;
export const UNTAKEN = 0;
/** Tasks of the call in this step. */
export const NUM_TASKS = 8;
export const UNFINISHED = 64;
export const KIND = 128;
/** 0: a row per token; 1: a row per sample. */
export const ROWS = 132;
/** Matrices of activations are f32 [rows][stride]; strides are in floats. */
export const INPUT = 136;
export const INPUT_STRIDE = 140;
export const OUTPUT = 144;
export const OUTPUT_STRIDE = 148;
/** Of kernels whose tasks are rows: rows that one task takes. */
export const ROWS_PER_TASK = 152;

export const EMBEDDING = 1;
export const LAYER_NORM = 2;
export const QUANTIZE_ROWS = 3;
export const LINEAR_I8 = 4;
export const LINEAR_F32 = 5;
export const STORE_KV = 6;
export const ATTENTION = 7;
export const GATHER_ROWS = 8;
export const SHORT_CONVOLUTION = 9;
export const DIAGONAL_SSM = 10;
export const LONG_CONVOLUTION = 11;
export const ROTARY = 12;
export const GATED = 13;
export const STORE_HISTORY = 14;
export const CONVOLUTION_HISTORY = 15;

/** A record: u32 sequence, first input, end of the inputs, first output, end of the outputs, 1 to add to what is kept. */
export const ONLINE_SUM_BYTES = 24;
/** Sums of a long convolution that are made before a step's rows. */
export const ONLINE_SQUARES = 16;

/** Rows of a matrix that are packed together: three vectors of four. */
export const PANEL = 12;
/** Of one column of an f32 panel, and of four of an int8 one. */
export const PANEL_BYTES = PANEL * 4;
/** Rows of activations that a linear task takes at most, so that they stay in the second-level cache. */
export const ROW_BLOCK = 64;

/** Of a linear. INPUT is f32, or the limbs that QUANTIZE_ROWS made; BIAS and RESIDUAL are 0 where there is none. */
export const WEIGHT = 156;
/** f32 [out]: what int8 rows are scaled by. */
export const WEIGHT_SCALES = 160;
/** i32 [out]: LIMB_ZERO times the sum of each row. */
export const WEIGHT_SUMS = 164;
/** f32 [rows]: what limbs are scaled by. */
export const ROW_SCALES = 168;
export const IN_WIDTH = 172;
export const NUM_PANELS = 176;
export const BIAS = 180;
/** 0: none, 1: tanh GELU, 2: exact GELU. */
export const ACTIVATION = 184;
/** f32 [rows][OUTPUT_STRIDE] */
export const RESIDUAL = 188;

// Of QUANTIZE_ROWS: OUTPUT_STRIDE is in bytes; IN_WIDTH and ROW_SCALES as above.
/** A value is split in three limbs of 7 bits, each stored with this added. */
export const LIMB_ZERO = 64;
/** The largest |value| is mapped to this; with the zeros added it needs 21 bits. */
export const LIMB_MAX = 1_040_000;

/** Of LAYER_NORM, beside IN_WIDTH; without bias (0) it is RMSNorm. */
export const NORM_SCALE = 156;
export const NORM_BIAS = 160;
export const NORM_EPSILON = 164;

/** Of EMBEDDING, beside WEIGHT, WEIGHT_SCALES and IN_WIDTH: 1 where the table is int8; f32 [positions][stride] or 0. */
export const TABLE_IS_I8 = 184;
export const POSITION_TABLE = 188;

/** Of STORE_KV and ATTENTION. Keys are f32 [block][KV head][HEAD_SIZE][16], values f32 [block][KV head][16][VALUE_STRIDE]. */
export const KEYS = 156;
export const VALUES = 160;
export const NUM_HEADS = 164;
export const NUM_KV_HEADS = 168;
export const HEAD_SIZE = 172;
/** HEAD_SIZE rounded up to 8. */
export const VALUE_STRIDE = 176;
export const SCORE_SCALE = 180;
/** Room for the scores of one row, floats. */
export const SCORE_STRIDE = 184;
/** Keys that a row sees at most. */
export const ATTENTION_WINDOW = 188;
/** Of ROTARY, beside NUM_HEADS and HEAD_SIZE: f32 [positions][TURNS_STRIDE], and columns of a head that are turned. */
export const TURNS = 156;
export const TURNS_STRIDE = 160;
export const TURNED = 168;

/** Query rows that one attention task takes at most. */
export const MOST_QUERY_ROWS = 8;

/**
 * Of SHORT_CONVOLUTION, DIAGONAL_SSM, LONG_CONVOLUTION and GATED, beside IN_WIDTH: columns of activations by the address of their
 * first row's first, 0 where there are none, and the stride of their rows.
 */
export const GATE = 164;
export const GATE_STRIDE = 168;
/** f32 [slots][floats]: what is kept of a sequence. */
export const STATES = 160;
/** f32 [taps][FILTER_STRIDE] by lag, or of LONG_CONVOLUTION [channels][FILTER_STRIDE]; BIAS as of a linear. */
export const FILTER = 156;
export const NUM_TAPS = 176;
export const FILTER_STRIDE = 184;

/** f32 [channels][MODE_STRIDE] of pairs of real and imaginary part; f32 [channels] or 0. */
export const POLES = 156;
export const NUM_MODES = 176;
export const SKIP = 180;
export const RESIDUES = 184;
export const MODE_STRIDE = 188;

/** Of LONG_CONVOLUTION, which keeps nothing; GATE is what comes after it. In the place of ROWS_PER_TASK, which tasks of channels do not have, is a stride. */
export const BEFORE = 160;
export const BEFORE_STRIDE = 180;
export const CARRIED = 188;
export const CARRIED_STRIDE = 152;

/**
 * Of STORE_HISTORY and CONVOLUTION_HISTORY, beside IN_WIDTH, BEFORE and what a filter has: f32 [block][channel][16], the newest
 * first.
 */
export const HISTORY = 164;
/** Of CONVOLUTION_HISTORY and ONLINE_SQUARES: f32 [places][ONLINE_WINDOW][channels], 0 where sums are not made online. */
export const KEPT = 168;
export const ONLINE_WINDOW = 180;
export const SQUARE = 188;

/** Channels of a sequence that are a task. */
export const SHORT_CHANNELS = 64;
export const SSM_CHANNELS = 16;
export const HISTORY_CHANNELS = 16;
/** One in each lane of a vector. */
export const LONG_CHANNELS = 4;
