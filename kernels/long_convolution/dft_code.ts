// Writes small discrete Fourier transforms of named vec2<f32> values out in WGSL, for sizes that stay in registers. Knows
// no memory. Products come from kernels/complex.wgsl.

/** The sign of the exponent. */
export type Direction = "forward" | "inverse";

/** Writes lines of WGSL, each value a name of its own. */
export class CodeWriter {
  readonly #lines: string[] = [];
  readonly #prefix: string;
  #count = 0;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  line(code: string): void {
    this.#lines.push(code);
  }

  /** Gives an expression a name. */
  name(expression: string): string {
    const name = `${this.#prefix}${this.#count++}`;
    this.line(`let ${name} = ${expression};`);
    return name;
  }

  toString(): string {
    return this.#lines.join("\n");
  }
}

/** A number as WGSL. */
export function f32Literal(value: number): string {
  return `${Math.fround(value)}f`;
}

/** e^(∓2πi m / size) as WGSL. */
export function rootLiteral(m: number, size: number, direction: Direction): string {
  const angle = (direction === "forward" ? -2 : 2) * Math.PI * m / size;
  return `vec2<f32>(${f32Literal(Math.cos(angle))}, ${f32Literal(Math.sin(angle))})`;
}

/**
 * The transform of `values`, a power of two of them: names of what is at each frequency. Undefined values are zero. By
 * decimation in time; where the compiler finds that an output is not used, nothing is computed for it.
 */
export function dft(
  writer: CodeWriter,
  values: readonly (string | undefined)[],
  direction: Direction,
): (string | undefined)[] {
  const size = values.length;
  if (size === 1) return [...values];
  const even = dft(writer, values.filter((_, i) => i % 2 === 0), direction);
  const odd = dft(writer, values.filter((_, i) => i % 2 === 1), direction);
  const outputs: (string | undefined)[] = new Array(size);
  for (let k = 0; k < size / 2; k++) {
    const a = even[k], b = odd[k] && turned(writer, odd[k]!, k, size, direction);
    outputs[k] = b ? (a ? writer.name(`${a} + ${b}`) : b) : a;
    outputs[k + size / 2] = b ? writer.name(a ? `${a} - ${b}` : `-${b}`) : a;
  }
  return outputs;
}

/** `value` times e^(∓2πi k / size), k < size / 2. */
function turned(writer: CodeWriter, value: string, k: number, size: number, direction: Direction): string {
  const forward = direction === "forward";
  if (k === 0) return value;
  if (4 * k === size) {
    return writer.name(forward ? `vec2<f32>(${value}.y, -${value}.x)` : `vec2<f32>(-${value}.y, ${value}.x)`);
  }
  if (8 * k === size) {
    const sum = forward
      ? `vec2<f32>(${value}.x + ${value}.y, ${value}.y - ${value}.x)`
      : `vec2<f32>(${value}.x - ${value}.y, ${value}.y + ${value}.x)`;
    return writer.name(`${f32Literal(Math.SQRT1_2)} * ${sum}`);
  }
  return writer.name(`times(${value}, ${rootLiteral(k, size, direction)})`);
}

/** Names of the powers 1 to count - 1 of the value `root`, at index 1 to count - 1; each of few multiplications. */
export function powers(writer: CodeWriter, root: string, count: number): string[] {
  const names = ["", root];
  for (let i = 2; i < count; i++) {
    names.push(writer.name(`times(${names[i >> 1]}, ${names[i - (i >> 1)]})`));
  }
  return names;
}
