// The rule by which the weights of golden values are filled: G(count, s)[i] = amplitude cos(1 + 0.37 i + 0.11 s).

export function goldenFill(count: number, s: number, amplitude = 0.5): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => amplitude * Math.cos(1 + 0.37 * i + 0.11 * s));
}

/** [rows, inputs] times the transpose of weight [outputs, inputs], plus bias. */
export function goldenLinear(x: Float64Array, weight: Float64Array, bias: Float64Array): Float64Array {
  const outputs = bias.length, inputs = weight.length / outputs;
  return Float64Array.from({ length: x.length / inputs * outputs }, (_, at) => {
    const row = Math.floor(at / outputs), o = at % outputs;
    let sum = bias[o];
    for (let i = 0; i < inputs; i++) sum += x[row * inputs + i] * weight[o * inputs + i];
    return sum;
  });
}

/** Columns [first, first + width) of rows of `all`. */
export function goldenColumns(x: Float64Array, all: number, first: number, width: number): Float64Array {
  return x.filter((_, i) => i % all >= first && i % all < first + width);
}

/** A batch of one sequence from its beginning, in state slot 0. */
export function wholeSequence(length: number) {
  return {
    tokenIds: new Uint32Array(length),
    positions: Uint32Array.from({ length }, (_, i) => i),
    slotMapping: new Uint32Array(length),
    queryStart: Uint32Array.of(0, length),
    contextLengths: Uint32Array.of(length),
    blockTables: [new Uint32Array(0)],
    stateSlots: Uint32Array.of(0),
    samples: [],
  };
}
