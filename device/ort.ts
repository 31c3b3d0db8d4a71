// onnxruntime's WebAssembly build, driven through its C interface: sessions, and tensors that live in the WebAssembly
// heap. The package's own JavaScript front copies every input into the heap and every output out of it at each run;
// here callers write where the session reads, so a cache of megabytes is passed by address. The functions are those of
// onnxruntime/wasm/api.h of the version pinned here. Knows nothing of models.

/** Not a literal where it is imported, so that only those who ask for onnxruntime download its 142 MB. */
const SPECIFIER = "npm:onnxruntime-web@1.30.0/ort-wasm-simd-threaded.mjs";

/** What of the Emscripten module is used. Addresses and sizes are bytes. */
interface OrtModule {
  readonly HEAPU8: Uint8Array<ArrayBuffer>;
  _malloc(bytes: number): number;
  _free(address: number): void;
  stackSave(): number;
  stackRestore(stack: number): void;
  stackAlloc(bytes: number): number;
  getValue(address: number, type: "i32" | "*"): number;
  setValue(address: number, value: number, type: "i32" | "*"): void;
  UTF8ToString(address: number): string;
  stringToUTF8(text: string, address: number, maxBytes: number): void;
  lengthBytesUTF8(text: string): number;
  mountExternalData(path: string, data: Uint8Array): void;
  unmountExternalData(): void;
  _OrtInit(numThreads: number, logLevel: number): number;
  _OrtGetLastError(code: number, message: number): number;
  _OrtCreateSessionOptions(...settings: number[]): number;
  _OrtAddSessionConfigEntry(options: number, key: number, value: number): number;
  _OrtReleaseSessionOptions(options: number): number;
  _OrtCreateSession(model: number, bytes: number, options: number): number | Promise<number>;
  _OrtReleaseSession(session: number): number;
  _OrtEndProfiling(session: number): number;
  _OrtCreateTensor(...description: number[]): number;
  _OrtGetTensorData(tensor: number, type: number, data: number, dims: number, rank: number): number;
  _OrtReleaseTensor(tensor: number): number;
  _OrtFree(address: number): number;
  _OrtRun(...call: number[]): number | Promise<number>;
}

/** Element types of tensors, by their ONNX number. */
const ELEMENT_TYPE = { float32: 1, int32: 6, int64: 7 } as const;
type ElementType = keyof typeof ELEMENT_TYPE;

const LOG_ERRORS = 3;
const LOCATION_CPU = 1;
const POINTER_BYTES = 4;

/** Bytes that a WebAssembly heap can grow to. */
export const MAX_HEAP_BYTES = 2 ** 32;

/** A file that a model's external initializers name. */
export interface OrtFile {
  readonly path: string;
  readonly data: Uint8Array;
}

export interface OrtSessionOptions {
  /** Run by run timing of every node, written as JSON to standard output when the session is disposed of. */
  readonly profile?: boolean;
  /** Entries such as "session.disable_prepacking": "1". */
  readonly config?: Readonly<Record<string, string>>;
}

/** One WebAssembly heap with its threads. The threads sleep between runs and do not keep the process alive. */
export class OrtRuntime {
  readonly numThreads: number;
  readonly #module: OrtModule;

  private constructor(module: OrtModule, numThreads: number) {
    this.#module = module;
    this.numThreads = numThreads;
  }

  /**
   * Loads the WebAssembly module; needs permission to read the npm cache and nothing else.
   * @param reserveBytes Bytes that sessions, tensors and their working memory will need. The heap grows to this at
   *   once (the system backs what is touched): growing it later, amid a run, can hang Deno's threads for good.
   * @throws {RangeError} when the heap cannot grow that far
   */
  static async open(numThreads: number, reserveBytes: number): Promise<OrtRuntime> {
    const { default: instantiate } = await import(SPECIFIER) as {
      default: (settings: object) => Promise<OrtModule>;
    };
    const module = await instantiate({ numThreads });
    if (module._OrtInit(numThreads, LOG_ERRORS) !== 0) throw lastError(module, "Cannot start onnxruntime");
    const reserved = module._malloc(reserveBytes);
    if (reserved === 0) {
      throw new RangeError(`Cannot reserve memory: WebAssembly has no ${reserveBytes} bytes`);
    }
    module._free(reserved);
    return new OrtRuntime(module, numThreads);
  }

  /**
   * Reserves zeroed room for `length` floats.
   * @throws {RangeError} when the heap cannot grow that far
   */
  allocate(length: number): HeapBuffer {
    return new HeapBuffer(this.#module, length);
  }

  /** `model` is a ModelProto; `files` hold its external initializers and may be dropped afterwards. */
  async createSession(
    model: Uint8Array,
    files: Iterable<OrtFile> = [],
    options: OrtSessionOptions = {},
  ): Promise<OrtSession> {
    const module = this.#module;
    const address = module._malloc(model.byteLength);
    const settings = sessionOptions(module, options);
    try {
      module.HEAPU8.set(model, address);
      for (const file of files) module.mountExternalData(file.path, file.data);
      const session = await module._OrtCreateSession(address, model.byteLength, settings);
      if (session === 0) throw lastError(module, "Cannot create session");
      return new OrtSession(module, session, options.profile ?? false);
    } finally {
      module.unmountExternalData();
      module._OrtReleaseSessionOptions(settings);
      module._free(address);
    }
  }
}

/** Floats in the heap, at a fixed address until disposed of. `values` may be written between runs. */
export class HeapBuffer implements Disposable {
  /** Stays valid when the heap grows: its memory is shared, so growing moves nothing. */
  readonly values: Float32Array;
  readonly address: number;
  readonly #module: OrtModule;

  constructor(module: OrtModule, length: number) {
    this.#module = module;
    this.address = module._malloc(Math.max(4, length * 4));
    if (this.address === 0) {
      throw new RangeError(
        `Cannot reserve memory: ${length * 4} bytes exceed what is left of WebAssembly's 4 GiB`,
      );
    }
    this.values = new Float32Array(module.HEAPU8.buffer, this.address >>> 0, length);
    this.values.fill(0);
  }

  [Symbol.dispose](): void {
    this.#module._free(this.address);
  }
}

/** Elements to read from, either in the heap already or copied into it for one run. */
export type OrtInput =
  | { readonly buffer: HeapBuffer; readonly shape: readonly number[] }
  | { readonly data: Float32Array | Int32Array | BigInt64Array; readonly shape: readonly number[] };

/** Results of one run, in the heap; gone once disposed of. */
export class OrtOutputs implements Disposable {
  readonly #module: OrtModule;
  readonly #tensors: ReadonlyMap<string, number>;

  constructor(module: OrtModule, tensors: ReadonlyMap<string, number>) {
    this.#module = module;
    this.#tensors = tensors;
  }

  /** The elements of a float output, without a copy. */
  values(name: string): Float32Array {
    const module = this.#module;
    const stack = module.stackSave();
    const [type, data, dims, rank] = [0, 1, 2, 3].map(() => module.stackAlloc(POINTER_BYTES));
    try {
      check(module, module._OrtGetTensorData(this.#tensors.get(name)!, type, data, dims, rank));
      const dimensions = module.getValue(dims, "*") >>> 0;
      let length = 1;
      for (let i = 0; i < module.getValue(rank, "i32"); i++) {
        length *= module.getValue(dimensions + i * POINTER_BYTES, "i32");
      }
      module._OrtFree(dimensions);
      return new Float32Array(module.HEAPU8.buffer, module.getValue(data, "*") >>> 0, length);
    } finally {
      module.stackRestore(stack);
    }
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#tensors.values()) this.#module._OrtReleaseTensor(tensor);
  }
}

export class OrtSession implements Disposable {
  readonly #module: OrtModule;
  readonly #session: number;
  readonly #profiled: boolean;
  readonly #names = new Map<string, number>();

  constructor(module: OrtModule, session: number, profiled: boolean) {
    this.#module = module;
    this.#session = session;
    this.#profiled = profiled;
  }

  /** Runs the graph on the calling thread, with the runtime's others helping. */
  async run(inputs: Readonly<Record<string, OrtInput>>, outputNames: readonly string[]): Promise<OrtOutputs> {
    const module = this.#module;
    const stack = module.stackSave();
    const copies: number[] = [];
    const handles: number[] = [];
    try {
      for (const input of Object.values(inputs)) handles.push(createTensor(module, input, copies));
      const results = module.stackAlloc(outputNames.length * POINTER_BYTES);
      outputNames.forEach((_, i) => module.setValue(results + i * POINTER_BYTES, 0, "*"));
      const inputNames = this.#pointers(Object.keys(inputs).map((name) => this.#name(name)));
      const wanted = this.#pointers(outputNames.map((name) => this.#name(name)));
      const values = this.#pointers(handles);
      const code = await module._OrtRun(
        this.#session,
        inputNames,
        values,
        handles.length,
        wanted,
        outputNames.length,
        results,
        0,
      );
      check(module, code);
      return new OrtOutputs(
        module,
        new Map(outputNames.map((name, i) => [name, module.getValue(results + i * POINTER_BYTES, "*")])),
      );
    } finally {
      for (const handle of handles) module._OrtReleaseTensor(handle);
      for (const address of copies) module._free(address);
      module.stackRestore(stack);
    }
  }

  [Symbol.dispose](): void {
    if (this.#profiled) this.#module._OrtFree(this.#module._OrtEndProfiling(this.#session));
    this.#module._OrtReleaseSession(this.#session);
    for (const address of this.#names.values()) this.#module._free(address);
    this.#names.clear();
  }

  #name(name: string): number {
    const known = this.#names.get(name);
    if (known !== undefined) return known;
    const address = allocateString(this.#module, name);
    this.#names.set(name, address);
    return address;
  }

  #pointers(values: readonly number[]): number {
    const address = this.#module.stackAlloc(values.length * POINTER_BYTES);
    values.forEach((value, i) => this.#module.setValue(address + i * POINTER_BYTES, value, "*"));
    return address;
  }
}

function createTensor(module: OrtModule, input: OrtInput, copies: number[]): number {
  const type = "buffer" in input ? "float32" : elementType(input.data);
  const bytes = "buffer" in input ? input.shape.reduce((a, b) => a * b, 4) : input.data.byteLength;
  const address = "buffer" in input ? input.buffer.address : copyIn(module, input.data, copies);
  const stack = module.stackSave();
  const dims = module.stackAlloc(Math.max(1, input.shape.length) * POINTER_BYTES);
  input.shape.forEach((size, i) => module.setValue(dims + i * POINTER_BYTES, size, "i32"));
  const tensor = module._OrtCreateTensor(
    ELEMENT_TYPE[type],
    address,
    bytes,
    dims,
    input.shape.length,
    LOCATION_CPU,
  );
  module.stackRestore(stack);
  if (tensor === 0) throw lastError(module, "Cannot create tensor");
  return tensor;
}

function copyIn(module: OrtModule, data: ArrayBufferView, copies: number[]): number {
  const address = module._malloc(Math.max(8, data.byteLength));
  if (address === 0) throw new RangeError(`Cannot pass input: no room for its ${data.byteLength} bytes`);
  copies.push(address);
  module.HEAPU8.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), address >>> 0);
  return address;
}

function elementType(data: Float32Array | Int32Array | BigInt64Array): ElementType {
  if (data instanceof Float32Array) return "float32";
  return data instanceof Int32Array ? "int32" : "int64";
}

function sessionOptions(module: OrtModule, options: OrtSessionOptions): number {
  // Level 0: our graphs come fused, and rewriting them only costs start-up time.
  // No arena and no memory patterns: they keep memory for every shape that was ever run.
  const settings = { level: 0, arena: 0, memoryPattern: 0, sequential: 0, profile: options.profile ? 1 : 0 };
  const handle = module._OrtCreateSessionOptions(...Object.values(settings), 0, 0, LOG_ERRORS, 0, 0);
  if (handle === 0) throw lastError(module, "Cannot create session options");
  for (const [key, value] of Object.entries(options.config ?? {})) {
    const [keyAddress, valueAddress] = [allocateString(module, key), allocateString(module, value)];
    const code = module._OrtAddSessionConfigEntry(handle, keyAddress, valueAddress);
    module._free(keyAddress);
    module._free(valueAddress);
    check(module, code);
  }
  return handle;
}

function allocateString(module: OrtModule, text: string): number {
  const bytes = module.lengthBytesUTF8(text) + 1;
  const address = module._malloc(bytes);
  module.stringToUTF8(text, address, bytes);
  return address;
}

function check(module: OrtModule, code: number): void {
  if (code !== 0) throw lastError(module, "Cannot run session");
}

function lastError(module: OrtModule, what: string): Error {
  const stack = module.stackSave();
  const [code, message] = [module.stackAlloc(POINTER_BYTES), module.stackAlloc(POINTER_BYTES)];
  module._OrtGetLastError(code, message);
  const text = module.UTF8ToString(module.getValue(message, "*"));
  module.stackRestore(stack);
  return new Error(`${what}: ${text}`);
}
