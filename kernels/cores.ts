// The GPU that divisions of work are planned for, where WebGPU does not say what there is.

/** Cores, those of an H200. On fewer it is the larger tiles that win. */
export const CORES = 132;
