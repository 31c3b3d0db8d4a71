// Sizes that tests of models share where they are not what is tested: kernels have them as constants, and software
// compiles equal ones once.

/** Room for all rows of logits that a fixture keeps, and steps as large as by default. */
export const ROOMY = { maxSequences: 32 } as const;

/** A budget that cuts most prompts in chunks. */
export const CHUNKED = { maxSequences: 16, maxBatchTokens: 24 } as const;
