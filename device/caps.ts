// What an opened device offers, in one plain record. Kernels choose their variants by it, never by a provider's name.

/** Dawn (npm:webgpu), or Deno's built-in WebGPU (wgpu). */
export type Provider = "dawn" | "webgpu";

/**
 * safe: one kernel form for every batch and chunk size, so that a row's reductions always have the same order, and
 * nothing of the compiler's checks switched off. fast: the form that is quickest for the size at hand.
 */
export type Profile = "safe" | "fast";

/**
 * A product of fragments that the matrix units do for a whole subgroup: f16 [m, k] by f16 [k, n] into f32 [m, n].
 */
export interface MatrixFragment {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

export interface GpuCaps {
  readonly provider: Provider;
  readonly adapter: string;
  /** A software rasteriser: right for tests, useless for serving. */
  readonly software: boolean;
  readonly f16: boolean;
  readonly subgroups: boolean;
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  /** The largest fragment that WGSL may multiply; undefined without matrix units, or with subgroups of several sizes. */
  readonly matrixFragment: MatrixFragment | undefined;
  /** The one of fewest columns that is as deep: for products of which one side has few rows. */
  readonly narrowFragment: MatrixFragment | undefined;
  readonly timestamps: boolean;
  /** Largest range of a storage buffer that one binding may cover, bytes. */
  readonly maxBindingBytes: number;
  readonly maxBufferBytes: number;
  /** Storage buffers that a kernel may bind: eight in every WebGPU. */
  readonly maxStorageBuffers: number;
  readonly maxWorkgroupBytes: number;
  readonly maxInvocations: number;
}
